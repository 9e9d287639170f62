//! Wraps the kinds of worker that take one invocation at a time.

use crate::budget::memory::WorkerMemory;
use crate::instance::call::Call;
use crate::instance::{worker_command, worker_p2};
use crate::invocation::Fault;
use crate::manifest::ScalePolicy;

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

    /// Returns what it holds.
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
