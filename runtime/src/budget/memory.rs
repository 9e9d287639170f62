//! Real memory: every byte that a guest holds, or makes the host hold, is charged to its instance and to the host before
//! it gets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::budget::capacity::CapacityNotifier;
use crate::budget::quota::QuotaLease;
use crate::limits;
use crate::manifest::MemoryClass;

/// What all guests of the host hold together: bytes of linear memory, and workers.
/// Invariants: `used_bytes ≤ limit_bytes` and `workers ≤ WORKERS_MAX`, at every moment.
#[derive(Debug)]
pub struct HostMemory {
    limit_bytes: u64,
    used_bytes: AtomicU64,
    workers: AtomicU32,
    capacity: Arc<CapacityNotifier>,
}

impl HostMemory {
    /// Makes a budget of `limit_bytes`. `capacity` is told of what is given back.
    pub fn new(limit_bytes: u64, capacity: Arc<CapacityNotifier>) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicU64::new(0), workers: AtomicU32::new(0), capacity })
    }

    /// Returns the most bytes of linear memory that all guests may hold.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Bytes of linear memory all guests hold now.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Workers that are live now.
    pub fn workers(&self) -> u32 {
        self.workers.load(Ordering::Relaxed)
    }
}

/// What the workers of one instance hold together, within its memory class. Lives until the last of them is gone,
/// and so does the instance's share of the quota.
#[derive(Debug)]
pub struct InstanceMemory {
    class_bytes: u64,
    /// Bytes of linear memory of all workers that may still run, and of [`Charge`]s. Invariant: `≤ class_bytes`.
    used_bytes: AtomicU64,
    host: Arc<HostMemory>,
    _lease: QuotaLease,
}

impl InstanceMemory {
    /// The memory of an instance without workers, for which `lease` holds the class's share of the quota.
    pub fn new(class: MemoryClass, host: Arc<HostMemory>, lease: QuotaLease) -> Arc<Self> {
        Arc::new(Self { class_bytes: class.bytes(), used_bytes: AtomicU64::new(0), host, _lease: lease })
    }

    /// Bytes its workers hold now.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Charges `bytes` of something other than linear memory.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Result<Charge, RefusedBy> {
        self.take(bytes)?;
        Ok(Charge { instance: self.clone(), bytes })
    }

    fn take(&self, bytes: u64) -> Result<(), RefusedBy> {
        if !charge(&self.used_bytes, bytes, self.class_bytes) {
            return Err(RefusedBy::Class);
        }
        if !charge(&self.host.used_bytes, bytes, self.host.limit_bytes) {
            self.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(RefusedBy::Host);
        }
        Ok(())
    }
}

/// Bytes that an instance holds besides linear memory; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    instance: Arc<InstanceMemory>,
    bytes: u64,
}

impl Charge {
    /// How many.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.instance.used_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.instance.host.used_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.instance.host.capacity.may_be_made();
    }
}

/// Adds `bytes` to `used` unless that would pass `limit`.
fn charge(used: &AtomicU64, bytes: u64, limit: u64) -> bool {
    used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
        held.checked_add(bytes).filter(|sum| *sum <= limit)
    })
    .is_ok()
}

/// The limit that refused memory to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// The memory class of its instance.
    Class,
    /// The host's budget of real memory.
    Host,
    /// The limit [`limits::TABLE_ELEMENTS_MAX`].
    Table,
}

/// What one worker holds, charged to its instance and the host until [`Self::free`].
#[derive(Debug)]
pub struct WorkerMemory {
    instance: Arc<InstanceMemory>,
    /// Whether what it holds counts for the instance. Not once it only waits to be freed.
    in_instance: AtomicBool,
    charged_bytes: AtomicU64,
}

impl WorkerMemory {
    /// Makes the memory of one more worker of `instance`. `None` if the host has as many workers as it may.
    pub fn new(instance: Arc<InstanceMemory>) -> Option<Arc<Self>> {
        let more = |live| (live < limits::WORKERS_MAX).then_some(live + 1);
        instance.host.workers.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Arc::new(Self {
            instance,
            in_instance: AtomicBool::new(true),
            charged_bytes: AtomicU64::new(0),
        }))
    }

    /// Bytes that it holds.
    pub fn charged_bytes(&self) -> u64 {
        self.charged_bytes.load(Ordering::Relaxed)
    }

    /// Whether its guest runs only on the compute threads.
    pub fn is_large(&self) -> bool {
        self.charged_bytes() > limits::IN_PLACE_MEMORY_BYTES_MAX
    }

    /// Charges `bytes` more while the worker runs.
    pub fn take(&self, bytes: u64) -> Result<(), RefusedBy> {
        self.instance.take(bytes)?;
        self.charged_bytes.fetch_add(bytes, Ordering::AcqRel);
        Ok(())
    }

    /// Gives back `bytes` that were charged.
    pub fn release(&self, bytes: u64) {
        self.charged_bytes.fetch_sub(bytes, Ordering::AcqRel);
        if self.in_instance.load(Ordering::Acquire) {
            self.instance.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        self.instance.host.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Notes that the worker runs no more. Until its memory is freed, that counts for the host but not for the instance.
    pub fn leave_instance(&self) {
        if self.in_instance.swap(false, Ordering::AcqRel) {
            self.instance.used_bytes.fetch_sub(self.charged_bytes(), Ordering::AcqRel);
        }
    }

    /// Notes that the worker is gone, with all that it held.
    pub fn free(&self) {
        self.release(self.charged_bytes());
        let host = &self.instance.host;
        host.workers.fetch_sub(1, Ordering::SeqCst);
        host.capacity.may_be_made();
    }
}
