//! The wakers of an asynchronous worker: they remember that its event loop has something to do, and who is to poll it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// Woken when the event loop has something to do: by whoever brings an invocation, and by what guests waited for.
#[derive(Default)]
pub struct WorkerWaker {
    /// Somebody wants the event loop polled; whoever polls it looks again before it lets go.
    woken: AtomicBool,
    /// Somebody polls it: there is no need to wake its own task.
    polled: AtomicBool,
    /// `serve`, the host's own part of the event loop, has something to do, not only the library's.
    serve_woken: AtomicBool,
    /// The worker's own task.
    driver: AtomicWaker,
}

impl WorkerWaker {
    /// Asks for a poll, of whoever is about to poll or polls already.
    pub fn mark_woken(&self) {
        self.woken.store(true, Ordering::SeqCst);
    }

    /// Whether it was woken since the last poll began, or `serve` has something to do.
    pub fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst) || self.serve_woken.load(Ordering::SeqCst)
    }

    /// A poll begins: what wakes it from here on has to be looked at again.
    pub fn poll_begins(&self) {
        self.polled.store(true, Ordering::SeqCst);
        self.woken.store(false, Ordering::SeqCst);
    }

    /// A poll is over.
    pub fn poll_ends(&self) {
        self.polled.store(false, Ordering::SeqCst);
    }

    /// Whether somebody polls at this moment.
    pub fn is_polled(&self) -> bool {
        self.polled.load(Ordering::SeqCst)
    }

    /// There is something for `serve`: an invocation that came or left.
    pub fn mark_serve_woken(&self) {
        self.serve_woken.store(true, Ordering::SeqCst);
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

/// Wakes `serve`. The library polls that part before each of its own steps, some eight for a request, and mostly there is
/// nothing for it.
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
