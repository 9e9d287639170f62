//! Answers the health checks of load balancers: whether the host lives, and whether requests should come here (SPEC 11.1).
//!
//! `/.well-known/wfn/live` is always 200. `/.well-known/wfn/ready` is 503 while apps are still coming back after a start, and
//! again from the moment on that the host is ending. Both answer under every host name.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode};

use crate::app::readiness::Readiness;
use crate::limits;
use crate::refusal::Refusal;
use crate::run::response::ResponseBody;

/// The paths of both begin so.
const PREFIX: &str = "/.well-known/wfn/";

/// Answers the health checks.
pub struct Health {
    readiness: Arc<Readiness>,
}

impl Health {
    /// Makes the health checks of a host whose state is in `readiness`.
    pub fn new(readiness: Arc<Readiness>) -> Arc<Self> {
        Arc::new(Self { readiness })
    }

    /// Returns the answer, if `path` is that of a health check.
    pub fn answer(&self, path: &str) -> Option<Result<Response<ResponseBody>, Refusal>> {
        match path.strip_prefix(PREFIX)? {
            "live" => Some(Ok(text("live\n"))),
            "ready" if self.readiness.is_ready() => Some(Ok(text("ready\n"))),
            "ready" => {
                let message = "the host brings its apps back, or is ending";
                Some(Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", message)))
            }
            _ => None,
        }
    }

    /// Whether apps are still coming back after a start.
    pub fn is_coming(&self) -> bool {
        self.readiness.is_coming()
    }

    /// Waits until `is_back`, or until no more apps are coming back. Refuses when that takes too long.
    pub async fn wait_until(&self, is_back: impl Fn() -> bool) -> Result<(), Refusal> {
        let mut coming = self.readiness.follow();
        let waited = tokio::time::timeout(limits::RESTORE_WAIT_MAX, async {
            while *coming.borrow_and_update() && !is_back() && coming.changed().await.is_ok() {}
        });
        waited.await.map_err(|_| Refusal {
            retry_after: Some(Duration::from_secs(limits::RETRY_AFTER_SECONDS)),
            ..Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "starting",
                "the host has just started, and the app is not back yet; retry later",
            )
        })
    }
}

fn text(text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::host(text.to_owned()));
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
