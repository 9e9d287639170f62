//! Real memory: every byte that a guest holds, or makes the host hold, is charged to its instance and to the host before
//! it gets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::budget::capacity::CapacityNotifier;
use crate::budget::pages::WrittenEstimate;
use crate::budget::quota::QuotaLease;
use crate::component::engine::KeptSlots;
use crate::limits;
use crate::manifest::MemoryClass;

/// What all guests of the host hold together: bytes of linear memory, and workers.
/// Invariants: `used_bytes ≤ limit_bytes - kept.bytes()` and `workers ≤ WORKERS_MAX`, at every moment. No charge is taken that
/// passes [`Self::room_bytes`].
#[derive(Debug)]
pub struct HostMemory {
    limit_bytes: u64,
    /// What of that no guest gets, because unused slots keep it.
    kept: KeptSlots,
    /// What the process may hold beside all this.
    own_limit_bytes: u64,
    /// What it holds beyond that: guests get so much less.
    withheld_bytes: AtomicU64,
    used_bytes: AtomicU64,
    workers: AtomicU32,
    capacity: Arc<CapacityNotifier>,
}

impl HostMemory {
    /// Makes a budget of `limit_bytes`, of which `kept` is for unused slots, in a process that may hold `own_limit_bytes` beside it.
    /// `capacity` is told of what is given back.
    pub fn new(
        limit_bytes: u64,
        kept: KeptSlots,
        own_limit_bytes: u64,
        capacity: Arc<CapacityNotifier>,
    ) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            kept,
            own_limit_bytes,
            withheld_bytes: AtomicU64::new(0),
            used_bytes: AtomicU64::new(0),
            workers: AtomicU32::new(0),
            capacity,
        })
    }

    /// Returns the most bytes of linear memory that all guests may hold.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Charges `bytes`, unless that would be too much.
    fn charge(&self, bytes: u64) -> bool {
        charge(&self.used_bytes, bytes, self.room_bytes())
    }

    /// Bytes that guests may hold now.
    pub fn room_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.kept.bytes()).saturating_sub(self.withheld_bytes())
    }

    /// Bytes of the budget that guests do not get, because the process holds more than it may beside it.
    pub fn withheld_bytes(&self) -> u64 {
        self.withheld_bytes.load(Ordering::Relaxed)
    }

    /// Notes that the process holds `bytes` in all that no file lies behind. So the sum stays within both limits, even if something is
    /// charged to nobody. Pools that wait for memory are served again, as there may be more now.
    pub fn observe_process(&self, bytes: u64) {
        let own = bytes.saturating_sub(self.used_bytes()).saturating_sub(self.kept.bytes());
        self.withheld_bytes.store(own.saturating_sub(self.own_limit_bytes), Ordering::Relaxed);
        self.capacity.may_be_made();
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
    /// Those of them that are not charged to the host, because nobody has written them.
    unwritten_bytes: AtomicU64,
    host: Arc<HostMemory>,
    _lease: QuotaLease,
}

impl InstanceMemory {
    /// The memory of an instance without workers, for which `lease` holds the class's share of the quota.
    pub fn new(class: MemoryClass, host: Arc<HostMemory>, lease: QuotaLease) -> Arc<Self> {
        Arc::new(Self {
            class_bytes: class.bytes(),
            used_bytes: AtomicU64::new(0),
            unwritten_bytes: AtomicU64::new(0),
            host,
            _lease: lease,
        })
    }

    /// Bytes its workers hold now.
    pub fn held_bytes(&self) -> u64 {
        let unwritten = self.unwritten_bytes.load(Ordering::Relaxed);
        self.used_bytes.load(Ordering::Relaxed).saturating_sub(unwritten)
    }

    /// Charges `bytes` of something other than linear memory.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Result<Charge, RefusedBy> {
        self.take(bytes, bytes)?;
        Ok(Charge { instance: self.clone(), bytes })
    }

    /// Charges `bytes` to the instance, and `held_bytes` of them to the host.
    fn take(&self, bytes: u64, held_bytes: u64) -> Result<(), RefusedBy> {
        if !charge(&self.used_bytes, bytes, self.class_bytes) {
            return Err(RefusedBy::Class);
        }
        if !self.host.charge(held_bytes) {
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
    /// The pages of its first memories, if they are charged when they are written.
    paged: Option<PagedMemory>,
}

/// The first memories of a worker, whose pages are charged to the host when they are written.
#[derive(Debug)]
struct PagedMemory {
    estimate: Arc<WrittenEstimate>,
    /// Bytes of them that are not charged to the host.
    unwritten_bytes: AtomicU64,
    declared_bytes: AtomicU64,
    /// Bytes that were written at most, of everything the worker has.
    written_bytes: AtomicU64,
    /// Whether it has written what the host has no room for.
    is_over: AtomicBool,
}

impl WorkerMemory {
    /// Makes the memory of one more worker of `instance`, whose first memories are charged when they are written if there is an
    /// `estimate` for that. `None` if the host has as many workers as it may.
    pub fn new(instance: Arc<InstanceMemory>, estimate: Option<&Arc<WrittenEstimate>>) -> Option<Arc<Self>> {
        let more = |live| (live < limits::WORKERS_MAX).then_some(live + 1);
        instance.host.workers.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        let paged = estimate.map(|estimate| PagedMemory {
            unwritten_bytes: AtomicU64::new(0),
            declared_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(estimate.found(instance.host.kept.slot_bytes())),
            is_over: AtomicBool::new(false),
            estimate: estimate.clone(),
        });
        Some(Arc::new(Self {
            instance,
            in_instance: AtomicBool::new(true),
            charged_bytes: AtomicU64::new(0),
            paged,
        }))
    }

    /// Bytes that it has: what counts for its memory class.
    pub fn charged_bytes(&self) -> u64 {
        self.charged_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that it holds of the machine's memory.
    pub fn held_bytes(&self) -> u64 {
        self.charged_bytes().saturating_sub(self.unwritten_bytes())
    }

    fn unwritten_bytes(&self) -> u64 {
        self.paged.as_ref().map_or(0, |paged| paged.unwritten_bytes.load(Ordering::Relaxed))
    }

    /// Whether its guest runs only on the compute threads.
    pub fn is_large(&self) -> bool {
        self.charged_bytes() > limits::IN_PLACE_MEMORY_BYTES_MAX
    }

    /// Whether its first memories are charged when they are written.
    pub fn is_paged(&self) -> bool {
        self.paged.is_some()
    }

    /// Whether it has written what the host has no room for.
    pub fn is_over(&self) -> bool {
        self.paged.as_ref().is_some_and(|paged| paged.is_over.load(Ordering::Relaxed))
    }

    /// Charges `bytes` more while the worker runs.
    pub fn take(&self, bytes: u64) -> Result<(), RefusedBy> {
        self.instance.take(bytes, bytes)?;
        self.charged_bytes.fetch_add(bytes, Ordering::AcqRel);
        Ok(())
    }

    /// Charges a memory of `bytes` that the worker begins with, and `others` bytes: to the host, of the memory, only as much as the
    /// worker is expected to write of it.
    pub fn take_first(&self, bytes: u64, others: u64) -> Result<(), RefusedBy> {
        let Some(paged) = &self.paged else { return self.take(bytes.saturating_add(others)) };
        let expected = paged.estimate.of(bytes);
        let all = bytes.saturating_add(others);
        self.instance.take(all, expected.saturating_add(others))?;
        self.charged_bytes.fetch_add(all, Ordering::AcqRel);
        paged.declared_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.change_unwritten(paged, |unwritten| unwritten.fetch_add(bytes - expected, Ordering::AcqRel));
        Ok(())
    }

    /// Notes that pages of `bytes` were written at most, and charges them if more than was expected. A refusal is for the whole
    /// worker, which holds them already.
    pub fn wrote(&self, bytes: u64) -> Result<(), RefusedBy> {
        let Some(paged) = &self.paged else { return Ok(()) };
        let written = paged.written_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let declared = paged.declared_bytes.load(Ordering::Acquire);
        let more =
            written.min(declared).saturating_sub(declared - paged.unwritten_bytes.load(Ordering::Acquire));
        if more == 0 {
            return Ok(());
        }
        let host = &self.instance.host;
        if !host.charge(more) {
            paged.is_over.store(true, Ordering::Relaxed);
            return Err(RefusedBy::Host);
        }
        self.change_unwritten(paged, |unwritten| unwritten.fetch_sub(more, Ordering::AcqRel));
        Ok(())
    }

    /// Notes that the worker has served: what it has written by now is what others are expected to write. Gives back what was
    /// charged beyond that.
    pub fn served(&self) {
        let Some(paged) = &self.paged else { return };
        let declared = paged.declared_bytes.load(Ordering::Acquire);
        let written = paged.written_bytes.load(Ordering::Acquire).min(declared);
        paged.estimate.served(written);
        let needed = paged.estimate.of(declared).max(written);
        let charged = declared - paged.unwritten_bytes.load(Ordering::Acquire);
        if let Some(less @ 1..) = charged.checked_sub(needed) {
            self.change_unwritten(paged, |unwritten| unwritten.fetch_add(less, Ordering::AcqRel));
            self.instance.host.used_bytes.fetch_sub(less, Ordering::AcqRel);
            self.instance.host.capacity.may_be_made();
        }
    }

    fn change_unwritten(&self, paged: &PagedMemory, change: impl Fn(&AtomicU64) -> u64) {
        change(&paged.unwritten_bytes);
        if self.in_instance.load(Ordering::Acquire) {
            change(&self.instance.unwritten_bytes);
        }
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
            if self.is_paged() {
                self.instance.unwritten_bytes.fetch_sub(self.unwritten_bytes(), Ordering::AcqRel);
            }
        }
    }

    /// Notes that the worker is gone, with all that it held.
    pub fn free(&self) {
        self.leave_instance();
        let host = &self.instance.host;
        host.used_bytes.fetch_sub(self.held_bytes(), Ordering::AcqRel);
        self.charged_bytes.store(0, Ordering::Release);
        if let Some(paged) = &self.paged {
            paged.unwritten_bytes.store(0, Ordering::Release);
            paged.estimate.ended();
        }
        host.workers.fetch_sub(1, Ordering::SeqCst);
        host.capacity.may_be_made();
    }
}
