//! Wakes an asynchronous worker: remembers that its event loop has something to do, and who is to poll it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// Woken when the event loop has something to do: when an invocation comes, or what guests waited for.
#[derive(Default)]
pub struct WorkerWaker {
    /// The event loop needs a poll. The thread that polls it checks this again before it stops.
    woken: AtomicBool,
    /// A thread is polling it, so its own task need not be woken.
    polled: AtomicBool,
    /// `serve`, the host's own part of the event loop, has something to do, not only the library's.
    serve_woken: AtomicBool,
    /// The worker's own task.
    driver: AtomicWaker,
}

impl WorkerWaker {
    /// Asks for a poll, by the thread that is about to poll or is polling.
    pub fn mark_woken(&self) {
        self.woken.store(true, Ordering::SeqCst);
    }

    /// Whether it was woken since the last poll began, or `serve` has something to do.
    pub fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst) || self.serve_woken.load(Ordering::SeqCst)
    }

    /// Notes that a poll begins. Wakes from here on need another poll.
    pub fn poll_begins(&self) {
        self.polled.store(true, Ordering::SeqCst);
        self.woken.store(false, Ordering::SeqCst);
    }

    /// Notes that a poll has ended.
    pub fn poll_ends(&self) {
        self.polled.store(false, Ordering::SeqCst);
    }

    /// Whether a thread is polling it.
    pub fn is_polled(&self) -> bool {
        self.polled.load(Ordering::SeqCst)
    }

    /// Notes that there is work for `serve`: an invocation came or left.
    pub fn mark_serve_woken(&self) {
        self.serve_woken.store(true, Ordering::SeqCst);
    }

    /// Leaves the next poll to the worker's own task.
    pub fn wake_driver(&self) {
        self.driver.wake();
    }

    /// Notes that the worker's own task waits, to be woken by `waker`.
    pub fn register_driver(&self, waker: &Waker) {
        self.driver.register(waker);
    }
}

impl Wake for WorkerWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mark_woken();
        if !self.is_polled() {
            self.driver.wake();
        }
    }
}

/// Wakes `serve`. The library polls that part before each of its own steps, about eight times for a request, and mostly there is
/// no work for it.
pub struct ServeWaker(pub Arc<WorkerWaker>);

impl ServeWaker {
    /// Whether it was woken since this was last called.
    pub fn was_woken(&self) -> bool {
        self.0.serve_woken.load(Ordering::SeqCst) && self.0.serve_woken.swap(false, Ordering::SeqCst)
    }
}

impl Wake for ServeWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.mark_serve_woken();
        if !self.0.is_polled() {
            self.0.driver.wake();
        }
    }
}
