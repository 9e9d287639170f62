//! Lets apps of this host call each other. Each such call is dispatched like any other.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use http::Response;
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use crate::app::LiveRoutes;
use crate::app::running::App;
use crate::capability::neighbours::Neighbours;
use crate::dispatch::{NotRun, dispatch};
use crate::invocation::{InvocationId, Outcome};
use crate::manifest::grants::SharedStores;
use crate::names::AppName;
use crate::refusal::{Refusal, mark};
use crate::request::{Caller, GuestRequest, Invocation};

/// The apps that are served. A weak reference, because apps hold capabilities and those hold this.
pub struct ServedApps(Weak<LiveRoutes>);

impl ServedApps {
    /// The apps in `routes`.
    pub fn new(routes: &Arc<LiveRoutes>) -> Self {
        Self(Arc::downgrade(routes))
    }

    fn app(&self, name: &str) -> Option<Arc<App>> {
        self.0.upgrade()?.load().app(name).cloned()
    }
}

#[async_trait]
impl Neighbours for ServedApps {
    fn share_of(&self, owner: &AppName) -> Option<SharedStores> {
        Some(self.app(owner.as_str())?.active().revision.manifest.share.clone())
    }

    async fn call(
        &self,
        app: &str,
        caller: &AppName,
        depth: u32,
        request: GuestRequest,
    ) -> Option<Response<WasiBody>> {
        let app = self.app(app)?;
        let id = InvocationId::next();
        let invocation = Invocation::new(id, Caller::App { name: caller.clone(), depth }, request);
        // A task of its own, which ends with this future: no guest is polled while another one is.
        let mut call = JoinSet::new();
        call.spawn(async move { dispatch(&app, invocation).await });
        let answer = match call.join_next().await {
            Some(Ok(answer)) => answer,
            // The host's own fault, which is in its log, or the host is ending.
            _ => Err(NotRun::Ended(Outcome::HostFailed)),
        };
        let mut response = answer.unwrap_or_else(|why| Refusal::from(why).into_response());
        mark(&mut response, id);
        Some(response.map(|body| body.map_err(|_| HttpError::HttpResponseIncomplete).boxed_unsync()))
    }
}
