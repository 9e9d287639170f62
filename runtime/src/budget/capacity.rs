//! Tells the pools whose invocations wait for memory quota, or for real memory, when some may have come free.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// One for the host; whatever gives back quota or memory knows it.
#[derive(Debug, Default)]
pub struct CapacityNotifier {
    wanted: AtomicBool,
    came: Notify,
}

impl CapacityNotifier {
    /// Says that a queue is about to wait for room. Called before the last attempt to make some, so that what comes
    /// free after that is not missed.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Whether nobody has gone round the queues since [`Self::want`].
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Says that quota or memory came free, or that an instance fell idle which may make room.
    pub fn may_be_made(&self) {
        if self.is_wanted() {
            self.came.notify_one();
        }
    }

    /// Waits until there may be room for somebody who wants it; who asks next wants it anew.
    pub async fn came(&self) {
        self.came.notified().await;
        self.wanted.store(false, Ordering::SeqCst);
    }
}
