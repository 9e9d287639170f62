//! Charges the pages that a guest with a large memory writes, after each time it was polled.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use crate::budget::memory::{RefusedBy, WorkerMemory};
use crate::budget::pages::{WRITTEN_IN_A_TURN_BYTES_MAX, faulted_bytes};

thread_local! {
    /// What this thread had touched when the guest that it polls began, if that is counted.
    static BEFORE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The guest has written pages that the host has no memory for.
#[derive(Debug, thiserror::Error)]
#[error("the guest has written more of its memory than there is")]
pub struct WroteTooMuch(pub RefusedBy);

/// Polls `inner`, which enters a guest, and charges what it writes to `paged`, if it has a memory that is charged so
/// ([`of`]). Fails when that is refused.
pub async fn counted<T>(
    paged: Option<Arc<WorkerMemory>>,
    mut inner: impl Future<Output = wasmtime::Result<T>> + Unpin,
) -> wasmtime::Result<T> {
    let Some(memory) = paged else { return inner.await };
    poll_fn(|context| {
        let before = faulted_bytes();
        let outer = BEFORE.replace(Some(before));
        let polled = std::pin::Pin::new(&mut inner).poll(context);
        BEFORE.set(outer);
        match memory.wrote(faulted_bytes() - before) {
            // It has done what it was to do. It is not used again.
            Err(_) if polled.is_ready() => polled,
            Err(refused) => Poll::Ready(Err(WroteTooMuch(refused).into())),
            Ok(()) => polled,
        }
    })
    .await
}

/// Returns `memory` if its pages are charged when they are written.
pub fn of(memory: &Arc<WorkerMemory>) -> Option<Arc<WorkerMemory>> {
    memory.is_paged().then(|| memory.clone())
}

/// Whether the polled guest has written so much in this turn that it has to be charged.
pub fn has_written_much() -> bool {
    BEFORE.get().is_some_and(|before| faulted_bytes() - before > WRITTEN_IN_A_TURN_BYTES_MAX)
}
