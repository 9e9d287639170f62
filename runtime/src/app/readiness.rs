//! Whether the host is ready: every app that was deployed is back, or is known not to come, and nothing is ending.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// What clients and load balancers may know of the host's beginning and end.
#[derive(Debug)]
pub struct Readiness {
    /// Whether apps are still coming back. Changes with each that has come.
    coming: watch::Sender<bool>,
    /// The same, for those who ask for each request.
    is_coming: AtomicBool,
    ends: AtomicBool,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            coming: watch::Sender::new(true),
            is_coming: AtomicBool::new(true),
            ends: AtomicBool::new(false),
        }
    }
}

impl Readiness {
    /// Whether requests had better come here.
    pub fn is_ready(&self) -> bool {
        !self.is_coming() && !self.ends.load(Ordering::Relaxed)
    }

    /// Whether apps are still coming back.
    pub fn is_coming(&self) -> bool {
        self.is_coming.load(Ordering::Relaxed)
    }

    /// Some more apps have come back.
    pub fn came(&self) {
        self.coming.send_replace(true);
    }

    /// All that will come have come.
    pub fn all_came(&self) {
        self.is_coming.store(false, Ordering::Relaxed);
        self.coming.send_replace(false);
    }

    /// The host takes nothing new from now on.
    pub fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// Hears of apps that come back.
    pub fn follow(&self) -> watch::Receiver<bool> {
        self.coming.subscribe()
    }
}
