//! How an app reaches the others of its host, whoever keeps them.

use async_trait::async_trait;
use wasmtime_wasi_http::WasiBody;

use crate::manifest::grants::SharedStores;
use crate::names::AppName;
use crate::request::GuestRequest;

/// The apps of this host, as one of them sees the others.
#[async_trait]
pub trait Neighbours: Send + Sync + 'static {
    /// What `owner` shares, if it is served.
    fn share_of(&self, owner: &AppName) -> Option<SharedStores>;

    /// Calls `app` with the `request` of `caller`, to which `depth` calls from app to app have led, and gives back its answer
    /// or the host's own; `None` if no such app is served. The call is an invocation of its own, which ends when the future is
    /// dropped, and is never polled within the turn of another guest.
    async fn call(
        &self,
        app: &str,
        caller: &AppName,
        depth: u32,
        request: GuestRequest,
    ) -> Option<http::Response<WasiBody>>;
}
