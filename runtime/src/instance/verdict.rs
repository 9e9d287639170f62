//! How a call failed, for whoever passes its answer on.

use std::sync::OnceLock;
use std::task::Waker;

use futures_util::task::AtomicWaker;

use crate::invocation::Fault;

/// How a call failed; set before anything else can tell that it did, and once.
#[derive(Default)]
pub struct Verdict {
    fault: OnceLock<Fault>,
    /// Whoever reads the body.
    reader: AtomicWaker,
}

impl Verdict {
    /// The call failed. The first word counts.
    pub fn set(&self, fault: Fault) {
        let _ = self.fault.set(fault);
        self.reader.wake();
    }

    /// Wakes `reader` when the call fails, and nobody else.
    pub fn register(&self, reader: &Waker) {
        self.reader.register(reader);
    }

    /// How, if it did.
    pub fn get(&self) -> Option<&Fault> {
        self.fault.get()
    }
}
