//! Tells the code that passes an answer on how the call failed.

use std::sync::OnceLock;
use std::task::Waker;

use futures_util::task::AtomicWaker;

use crate::invocation::Fault;

/// How a call failed. Set once, before anything else can show that it failed.
#[derive(Default)]
pub struct Verdict {
    fault: OnceLock<Fault>,
    /// The task that reads the body.
    reader: AtomicWaker,
}

impl Verdict {
    /// Notes that the call failed. Only the first fault counts.
    pub fn set(&self, fault: Fault) {
        let _ = self.fault.set(fault);
        self.reader.wake();
    }

    /// Registers `reader` as the only task to wake when the call fails.
    pub fn register(&self, reader: &Waker) {
        self.reader.register(reader);
    }

    /// Returns how the call failed, if it did.
    pub fn get(&self) -> Option<&Fault> {
        self.fault.get()
    }
}
