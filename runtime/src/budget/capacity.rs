//! Tells the pools whose invocations wait for memory quota, or for real memory, when some may have come free.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// One for the host. It is called by everything that gives back quota or memory.
#[derive(Debug, Default)]
pub struct CapacityNotifier {
    wanted: AtomicBool,
    came: Notify,
}

impl CapacityNotifier {
    /// Notes that a pool's wait queue is about to wait for quota or memory. Called before the last attempt to get some, so that
    /// what comes free after that is not missed.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Whether the wait queues were not served since [`Self::want`].
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Notes that quota or memory came free, or that an instance became idle and can be retired.
    pub fn may_be_made(&self) {
        if self.is_wanted() {
            self.came.notify_one();
        }
    }

    /// Waits until there may be room for a pool that wants it. A pool that still wants room has to call [`Self::want`] again.
    pub async fn came(&self) {
        self.came.notified().await;
        self.wanted.store(false, Ordering::SeqCst);
    }
}
