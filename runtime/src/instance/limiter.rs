//! Memory limits: every byte of linear memory is charged to its instance and to the host before the
//! guest gets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use async_trait::async_trait;
use wasmtime::{ResourceLimiter, ResourceLimiterAsync};

use crate::component::instance_size::Footprint;
use crate::instance::guest_task;
use crate::limits;
use crate::manifest::MemoryClass;
use crate::pool::quota::QuotaLease;
use crate::pool::room::Room;

/// What all guests of the host hold together: bytes of linear memory, and workers.
/// Invariants: `used_bytes ≤ limit_bytes` and `workers ≤ WORKERS_MAX`, at every moment.
#[derive(Debug)]
pub struct HostMemory {
    limit_bytes: u64,
    used_bytes: AtomicU64,
    workers: AtomicU32,
    room: Arc<Room>,
}

impl HostMemory {
    /// A budget of `limit_bytes`; `room` is told what is given back.
    pub fn new(limit_bytes: u64, room: Arc<Room>) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicU64::new(0), workers: AtomicU32::new(0), room })
    }

    /// Most bytes of linear memory all guests may hold.
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
        self.instance.host.room.may_be_made();
    }
}

/// Adds `bytes` to `used` unless that would pass `limit`.
fn charge(used: &AtomicU64, bytes: u64, limit: u64) -> bool {
    used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
        held.checked_add(bytes).filter(|sum| *sum <= limit)
    })
    .is_ok()
}

/// Which bound refused a guest its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// The memory class of its instance.
    Class,
    /// The host's budget of real memory.
    Host,
    /// [`limits::TABLE_ELEMENTS_MAX`].
    Table,
}

/// What one worker holds, charged to its instance and the host until its [`Limiter`] is gone.
#[derive(Debug)]
pub struct WorkerMemory {
    instance: Arc<InstanceMemory>,
    /// Whether what it holds is the instance's: not once it is only waiting to be freed.
    in_instance: AtomicBool,
    charged_bytes: AtomicU64,
}

impl WorkerMemory {
    /// Bytes that it holds.
    pub fn charged_bytes(&self) -> u64 {
        self.charged_bytes.load(Ordering::Relaxed)
    }

    /// Whether its guest runs on the compute threads alone.
    pub fn is_large(&self) -> bool {
        self.charged_bytes() > limits::IN_PLACE_MEMORY_BYTES_MAX
    }

    /// Charges `bytes` more, while the worker runs.
    pub fn take(&self, bytes: u64) -> Result<(), RefusedBy> {
        self.instance.take(bytes)?;
        self.charged_bytes.fetch_add(bytes, Ordering::AcqRel);
        Ok(())
    }

    /// Gives `bytes` of what was taken back.
    pub fn release(&self, bytes: u64) {
        self.charged_bytes.fetch_sub(bytes, Ordering::AcqRel);
        if self.in_instance.load(Ordering::Acquire) {
            self.instance.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        self.instance.host.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// The worker runs no more: its memory, until it is freed, is the host's to bear and no longer counts
    /// against the siblings in its instance.
    pub fn leave_instance(&self) {
        if self.in_instance.swap(false, Ordering::AcqRel) {
            self.instance.used_bytes.fetch_sub(self.charged_bytes(), Ordering::AcqRel);
        }
    }
}

/// The limiter of one worker's store; gives everything back when it is dropped with the store.
#[derive(Debug)]
pub struct Limiter {
    memory: Arc<WorkerMemory>,
    /// What the instance itself and its first tables take, until it is charged together with the first memory: each charge
    /// is a word that all cores write.
    owed: u64,
    /// What is charged, or owed, for tables that are not there yet.
    tables_ahead: u64,
    /// What the last permitted growth charged, in case it fails after all.
    last_charge: u64,
    refused: Option<RefusedBy>,
}

impl Limiter {
    /// A limiter for one more worker of `instance`, a guest of which takes `footprint`; `None` if the host has as many as it can.
    pub fn new(instance: Arc<InstanceMemory>, footprint: Footprint) -> Option<Self> {
        instance
            .host
            .workers
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |live| {
                (live < limits::WORKERS_MAX).then_some(live + 1)
            })
            .ok()?;
        let memory =
            WorkerMemory { instance, in_instance: AtomicBool::new(true), charged_bytes: AtomicU64::new(0) };
        let Footprint { instance, tables } = footprint;
        let owed = instance.saturating_add(tables);
        Some(Self { memory: Arc::new(memory), owed, tables_ahead: tables, last_charge: 0, refused: None })
    }

    /// What its worker holds.
    pub fn memory(&self) -> &Arc<WorkerMemory> {
        &self.memory
    }

    /// Charges `bytes` more; a refusal is kept for [`Self::take_refusal`].
    pub fn take(&mut self, bytes: u64) -> Result<(), RefusedBy> {
        let taken = self.memory.take(bytes.saturating_add(self.owed));
        match taken {
            Ok(()) => self.owed = 0,
            Err(refused) => self.refused = Some(refused),
        }
        taken
    }

    /// The guest has started: what it has is charged, if nothing before did it.
    pub fn started(&mut self) -> Result<(), RefusedBy> {
        if self.owed > 0 { self.take(0) } else { Ok(()) }
    }

    /// Which bound refused memory since this was last asked.
    pub fn take_refusal(&mut self) -> Option<RefusedBy> {
        self.refused.take()
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.memory.release(self.memory.charged_bytes());
        let host = &self.memory.instance.host;
        host.workers.fetch_sub(1, Ordering::SeqCst);
        host.room.may_be_made();
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current) as u64;
        if self.take(grown).is_err() {
            return Ok(false);
        }
        self.last_charge = grown;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.release(std::mem::take(&mut self.last_charge));
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > limits::TABLE_ELEMENTS_MAX {
            self.refused = Some(RefusedBy::Table);
            return Ok(false);
        }
        let grown = desired.saturating_sub(current) as u64 * limits::TABLE_ELEMENT_BYTES;
        let ahead = grown.min(self.tables_ahead);
        if grown > ahead && self.take(grown - ahead).is_err() {
            return Ok(false);
        }
        self.tables_ahead -= ahead;
        self.last_charge = grown - ahead;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        ResourceLimiter::memory_grow_failed(self, error)
    }
}

/// The same for a guest that runs: one that grows large gets its memory on the compute threads, where filling it holds up
/// nobody.
#[async_trait]
impl ResourceLimiterAsync for Limiter {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let permitted = ResourceLimiter::memory_growing(self, current, desired, max)?;
        if permitted && self.memory.is_large() {
            guest_task::goes_on_apart().await;
        }
        Ok(permitted)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        ResourceLimiter::memory_grow_failed(self, error)
    }

    async fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        ResourceLimiter::table_growing(self, current, desired, max)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        ResourceLimiter::memory_grow_failed(self, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::quota::MemoryQuota;

    fn instance(host: &Arc<HostMemory>) -> Arc<InstanceMemory> {
        let lease = MemoryQuota::new(4_096, Arc::default()).reserve(2_048).unwrap();
        InstanceMemory::new(MemoryClass::Mb2048, host.clone(), lease)
    }

    #[test]
    fn what_waits_to_be_freed_counts_against_the_host_alone() {
        let host = HostMemory::new(u64::MAX, Arc::default());
        let instance = instance(&host);
        let mut retired = Limiter::new(instance.clone(), Footprint::default()).unwrap();
        assert!(ResourceLimiter::memory_growing(&mut retired, 0, 2 << 30, None).unwrap());
        retired.memory().leave_instance();
        retired.memory().leave_instance();
        assert_eq!((instance.used_bytes(), host.used_bytes()), (0, 2 << 30));
        let mut next = Limiter::new(instance.clone(), Footprint::default()).unwrap();
        assert!(ResourceLimiter::memory_growing(&mut next, 0, 65_536, None).unwrap());
        drop(retired);
        assert_eq!((instance.used_bytes(), host.used_bytes()), (65_536, 65_536));
    }

    #[test]
    fn workers_of_one_instance_share_its_class() {
        let host = HostMemory::new(u64::MAX, Arc::default());
        let instance = instance(&host);
        let mut first = Limiter::new(instance.clone(), Footprint::default()).unwrap();
        let mut second = Limiter::new(instance.clone(), Footprint::default()).unwrap();
        assert!(ResourceLimiter::memory_growing(&mut first, 0, 1 << 30, None).unwrap());
        assert!(ResourceLimiter::memory_growing(&mut second, 0, 1 << 30, None).unwrap());
        assert!(!ResourceLimiter::memory_growing(&mut second, 1 << 30, (1 << 30) + 65_536, None).unwrap());
        assert_eq!(second.take_refusal(), Some(RefusedBy::Class));
        assert_eq!(second.take_refusal(), None);
        drop(first);
        assert!(ResourceLimiter::memory_growing(&mut second, 1 << 30, 2 << 30, None).unwrap());
        drop(second);
        assert_eq!((instance.used_bytes(), host.used_bytes(), host.workers()), (0, 0, 0));
    }

    #[test]
    fn the_hosts_budget_refuses_before_it_is_passed() {
        let host = HostMemory::new(100_000, Arc::default());
        let instance = instance(&host);
        let mut limiter = Limiter::new(instance.clone(), Footprint::default()).unwrap();
        assert!(ResourceLimiter::memory_growing(&mut limiter, 0, 65_536, None).unwrap());
        assert!(!ResourceLimiter::memory_growing(&mut limiter, 65_536, 131_072, None).unwrap());
        assert_eq!(limiter.take_refusal(), Some(RefusedBy::Host));
        assert_eq!((instance.used_bytes(), host.used_bytes()), (65_536, 65_536));
    }

    #[test]
    fn growth_that_fails_after_all_is_given_back() {
        let host = HostMemory::new(u64::MAX, Arc::default());
        let mut limiter = Limiter::new(instance(&host), Footprint::default()).unwrap();
        assert!(ResourceLimiter::memory_growing(&mut limiter, 0, 65_536, None).unwrap());
        assert!(ResourceLimiter::memory_growing(&mut limiter, 65_536, 1 << 20, None).unwrap());
        ResourceLimiter::memory_grow_failed(&mut limiter, wasmtime::Error::msg("no pages")).unwrap();
        assert_eq!(host.used_bytes(), 65_536);
    }
}
