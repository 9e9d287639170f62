//! Defines how a guest reaches the other apps of its host: a trait, because `dispatch`, which implements it, is above
//! this layer.

use async_trait::async_trait;
use wasmtime_wasi_http::WasiBody;

use crate::manifest::grants::SharedStores;
use crate::names::AppName;
use crate::request::GuestRequest;

/// The apps of this host, as a guest of one of them reaches the others.
#[async_trait]
pub trait Neighbours: Send + Sync + 'static {
    /// The stores that `owner` shares, if it is served.
    fn share_of(&self, owner: &AppName) -> Option<SharedStores>;

    /// Calls `app` with the `request` of `caller`; `depth` is the number of calls from app to app that led to it.
    /// Returns the answer of the app or of the host; `None` if no such app is served. The call is an invocation of its
    /// own. It ends when the future is dropped, and it is never polled within the poll of another guest.
    async fn call(
        &self,
        app: &str,
        caller: &AppName,
        depth: u32,
        request: GuestRequest,
    ) -> Option<http::Response<WasiBody>>;
}
