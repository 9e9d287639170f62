//! A worker that takes one invocation at a time, of whatever kind.

use std::time::Instant;

use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::budget::memory::WorkerMemory;
use crate::instance::{worker_command, worker_p2};
use crate::invocation::{Fault, InvocationId};
use crate::manifest::ScalePolicy;
use crate::request::{GuestRequest, Origin};

/// What the guest hands over as its answer: head and body, or its own error code.
pub type Head = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// What one invocation brings along.
pub struct Call {
    /// Its id, for the log.
    pub invocation: InvocationId,
    /// The request as the guest sees it; it has an authority or a `Host` header that is text.
    pub request: GuestRequest,
    /// Where that came from.
    pub origin: Origin,
    /// When it must be over.
    pub deadline: Instant,
    /// Where the guest's answer goes, as soon as it is set.
    pub head: oneshot::Sender<Head>,
}

/// One live guest. Owned by one task at a time.
pub enum Worker {
    /// Serves one invocation after another.
    P2(worker_p2::Worker),
    /// Serves one invocation.
    Command(worker_command::Worker),
}

impl Worker {
    /// Runs the guest for `call`. Resolves when it has returned; the body of the answer may still be under way
    /// to the client. A worker whose future is dropped before that must be dropped, too.
    pub async fn handle(&mut self, call: Call, policy: &ScalePolicy) -> Result<(), Fault> {
        match self {
            Self::P2(worker) => worker.handle(call, policy).await,
            Self::Command(worker) => Box::pin(worker.handle(call, policy)).await,
        }
    }

    /// What it holds.
    pub fn memory(&self) -> &WorkerMemory {
        match self {
            Self::P2(worker) => worker.memory(),
            Self::Command(worker) => worker.memory(),
        }
    }

    /// Whether this worker may serve another invocation.
    pub fn is_reusable(&mut self, policy: &ScalePolicy) -> bool {
        match self {
            Self::P2(worker) => worker.is_reusable(policy),
            Self::Command(_) => false,
        }
    }
}
