//! Describes one call of a guest, for every kind of worker.

use std::time::Instant;

use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::invocation::InvocationId;
use crate::request::{GuestRequest, Origin};

/// What the guest hands over as its answer: head and body, or its own error code.
pub type Head = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// The parts of one call.
pub struct Call {
    /// Its id, for the log.
    pub invocation: InvocationId,
    /// The request as the guest sees it; it has an authority or a `Host` header that is text.
    pub request: GuestRequest,
    /// Where the request came from.
    pub origin: Origin,
    /// Its deadline.
    pub deadline: Instant,
    /// Where the guest's answer goes, as soon as it is set.
    pub head: oneshot::Sender<Head>,
}
