//! A request as guests get it, and where it came from.

use bytes::Bytes;
use http::{HeaderValue, Request};
use wasmtime_wasi_http::Error as HttpError;

use crate::trace::context::TraceContext;
use crate::trace::state::TRACESTATE;

/// A body as the WASI library takes it.
pub type GuestBody = http_body_util::combinators::UnsyncBoxBody<Bytes, HttpError>;

/// A request on its way to a guest. Boxed, because it is handed on from one to the next, and kept while they wait.
pub type GuestRequest = Box<http::Request<GuestBody>>;

/// Where a request came from; copied to the requests that its guest sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// How many calls from app to app; 0 for one from outside.
    pub depth: u32,
    /// Where it stands in its trace, if it is part of one.
    pub trace: Option<TraceContext>,
    /// What other tracers say of that trace.
    pub trace_state: Option<HeaderValue>,
}

impl Origin {
    /// What leads to the requests of a guest that is called with `request`.
    pub fn of<B>(request: &Request<B>) -> Self {
        let origin: Self = request.extensions().get().cloned().unwrap_or_default();
        let state = origin.trace.and_then(|_| request.headers().get(TRACESTATE));
        Self { trace_state: state.cloned(), ..origin }
    }
}
