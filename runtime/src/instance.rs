//! Instances and their workers: the unit of memory class and concurrency, and what runs in it.

pub mod limiter;
pub mod response;
pub mod run;
pub mod worker_p2;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::app::manifest::MemoryClass;
use crate::instance::limiter::HostMemory;
use crate::pool::quota::QuotaLease;

/// One instance: workers that share a memory class. Lives as long as the pool or any worker holds it, and
/// so does its share of the quota.
#[derive(Debug)]
pub struct Instance {
    class_bytes: u64,
    /// Bytes of linear memory of all workers. Invariant: `≤ class_bytes`; only [`limiter::Limiter`]
    /// changes it.
    memory_bytes: AtomicU64,
    host: Arc<HostMemory>,
    _lease: QuotaLease,
}

/// Two instances are the same only if they are one.
impl PartialEq for Instance {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Instance {
    /// An instance without workers, for which `lease` holds the class's share of the quota.
    pub fn new(class: MemoryClass, host: Arc<HostMemory>, lease: QuotaLease) -> Arc<Self> {
        Arc::new(Self { class_bytes: class.bytes(), memory_bytes: AtomicU64::new(0), host, _lease: lease })
    }

    /// Bytes of linear memory its workers hold now.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }
}
