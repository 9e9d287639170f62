//! Holds whether the host is ready: every deployed app is back, or is known to have failed, and the host is not ending.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// What clients and load balancers may know about the start and end of the host.
#[derive(Debug)]
pub struct Readiness {
    /// Whether apps are still coming back. Also sent for each app that has come back.
    coming: watch::Sender<bool>,
    /// The same value, for readers that ask on each request.
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
    /// Whether requests should come to this host.
    pub fn is_ready(&self) -> bool {
        !self.is_coming() && !self.ends.load(Ordering::Relaxed)
    }

    /// Whether apps are still coming back.
    pub fn is_coming(&self) -> bool {
        self.is_coming.load(Ordering::Relaxed)
    }

    /// Notes that more apps have come back.
    pub fn came(&self) {
        self.coming.send_replace(true);
    }

    /// Notes that no more apps will come back.
    pub fn all_came(&self) {
        self.is_coming.store(false, Ordering::Relaxed);
        self.coming.send_replace(false);
    }

    /// Notes that the host takes nothing new from now on.
    pub fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// Returns a receiver that is told of apps that come back.
    pub fn follow(&self) -> watch::Receiver<bool> {
        self.coming.subscribe()
    }
}
