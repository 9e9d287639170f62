//! Wakes the event loop of an asynchronous worker: remembers that there is something to do for it, and who is to be woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// Rung when the event loop has something to do: by whoever brings an invocation, and by what guests waited for.
#[derive(Default)]
pub struct Bell {
    /// Somebody wants the event loop polled; whoever polls it looks again before it lets go.
    rung: AtomicBool,
    /// Somebody polls it: there is no need to wake its own task.
    polled: AtomicBool,
    /// The worker's own part of the event loop has something to do, not only the library's.
    asked: AtomicBool,
    driver: AtomicWaker,
}

impl Bell {
    /// Asks for a poll, of whoever is about to poll or polls already.
    pub fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
    }

    /// Whether it rang since the last poll began, or the worker's own part has something to do.
    pub fn is_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst) || self.asked.load(Ordering::SeqCst)
    }

    /// A poll begins: what rings from here on has to be looked at again.
    pub fn poll_begins(&self) {
        self.polled.store(true, Ordering::SeqCst);
        self.rung.store(false, Ordering::SeqCst);
    }

    /// A poll is over.
    pub fn poll_ends(&self) {
        self.polled.store(false, Ordering::SeqCst);
    }

    /// Whether somebody polls at this moment.
    pub fn is_polled(&self) -> bool {
        self.polled.load(Ordering::SeqCst)
    }

    /// There is something for the worker's own part: an invocation that came or left.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Leaves the next poll to the worker's own task.
    pub fn wake_driver(&self) {
        self.driver.wake();
    }

    /// The worker's own task waits.
    pub fn register_driver(&self, waker: &Waker) {
        self.driver.register(waker);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
        if !self.is_polled() {
            self.driver.wake();
        }
    }
}

/// Wakes the worker's own part of the event loop. The library polls that part before each of its own steps, some
/// eight for a request, and mostly there is nothing for it.
pub struct Desk(pub Arc<Bell>);

impl Desk {
    /// Whether it was asked since this was last called.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst) && self.0.asked.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Desk {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.ask();
        if !self.0.is_polled() {
            self.0.driver.wake();
        }
    }
}
