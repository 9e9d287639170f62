//! Asks the budget before a guest's memory or table may grow.

use std::sync::Arc;

use async_trait::async_trait;
use wasmtime::{ResourceLimiter, ResourceLimiterAsync};

use crate::budget::memory::{InstanceMemory, RefusedBy, WorkerMemory};
use crate::budget::pages::WrittenEstimate;
use crate::component::instance_size::Footprint;
use crate::instance::guest_task;
use crate::limits;

/// The limiter of one worker's store; gives everything back when it is dropped with the store.
#[derive(Debug)]
pub struct Limiter {
    memory: Arc<WorkerMemory>,
    /// Bytes of the instance itself and its first tables. They are charged together with the first memory, because each charge
    /// writes a word that all cores share.
    owed: u64,
    /// Bytes that are charged, or owed, for tables that do not exist yet.
    tables_ahead: u64,
    /// Whether the guest has not started: its memories are its first ones.
    is_starting: bool,
    /// Bytes that the last permitted growth charged, in case it fails after all.
    last_charge: u64,
    refused: Option<RefusedBy>,
}

impl Limiter {
    /// Makes a limiter for one more worker of `instance`. An instance of its guest takes `footprint`, and writes of its memories as
    /// much as the `estimate` says, if there is one. `None` if the host has as many workers as it may.
    pub fn new(
        instance: Arc<InstanceMemory>,
        footprint: Footprint,
        estimate: Option<&Arc<WrittenEstimate>>,
    ) -> Option<Self> {
        let memory = WorkerMemory::new(instance, estimate)?;
        let Footprint { instance, tables, .. } = footprint;
        let owed = instance.saturating_add(tables);
        Some(Self { memory, owed, tables_ahead: tables, is_starting: true, last_charge: 0, refused: None })
    }

    /// Returns what its worker holds.
    pub fn memory(&self) -> &Arc<WorkerMemory> {
        &self.memory
    }

    /// Charges `bytes` more; a refusal is kept for [`Self::take_refusal`].
    pub fn take(&mut self, bytes: u64) -> Result<(), RefusedBy> {
        let taken = self.memory.take(bytes.saturating_add(self.owed));
        self.note(taken)
    }

    fn note(&mut self, taken: Result<(), RefusedBy>) -> Result<(), RefusedBy> {
        match taken {
            Ok(()) => self.owed = 0,
            Err(refused) => self.refused = Some(refused),
        }
        taken
    }

    /// Charges what the guest has at its start, if no memory was charged before.
    pub fn started(&mut self) -> Result<(), RefusedBy> {
        self.is_starting = false;
        if self.owed > 0 { self.take(0) } else { Ok(()) }
    }

    /// Returns which limit refused memory since the last call.
    pub fn take_refusal(&mut self) -> Option<RefusedBy> {
        self.refused.take()
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.memory.free();
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
        let is_first = self.is_starting && current == 0;
        let taken = match is_first {
            true => self.memory.take_first(grown, self.owed),
            false => self.memory.take(grown.saturating_add(self.owed)),
        };
        if self.note(taken).is_err() {
            return Ok(false);
        }
        // A first memory that fails ends the start, and everything is given back.
        self.last_charge = if is_first { 0 } else { grown };
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

/// The same for a guest that runs. One that grows large gets its memory on the compute threads, where filling it delays nobody.
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
    use crate::budget::memory::HostMemory;
    use crate::budget::quota::MemoryQuota;
    use crate::component::engine::KeptSlots;
    use crate::manifest::MemoryClass;

    fn instance(host: &Arc<HostMemory>) -> Arc<InstanceMemory> {
        let lease = MemoryQuota::new(4_096, Arc::default()).reserve(2_048).unwrap();
        InstanceMemory::new(MemoryClass::Mb2048, host.clone(), lease)
    }

    #[test]
    fn what_waits_to_be_freed_counts_against_the_host_alone() {
        let host = HostMemory::new(u64::MAX, KeptSlots::default(), u64::MAX, Arc::default());
        let instance = instance(&host);
        let mut retired = Limiter::new(instance.clone(), Footprint::default(), None).unwrap();
        assert!(ResourceLimiter::memory_growing(&mut retired, 0, 2 << 30, None).unwrap());
        retired.memory().leave_instance();
        retired.memory().leave_instance();
        assert_eq!((instance.held_bytes(), host.used_bytes()), (0, 2 << 30));
        let mut next = Limiter::new(instance.clone(), Footprint::default(), None).unwrap();
        assert!(ResourceLimiter::memory_growing(&mut next, 0, 65_536, None).unwrap());
        drop(retired);
        assert_eq!((instance.held_bytes(), host.used_bytes()), (65_536, 65_536));
    }

    #[test]
    fn workers_of_one_instance_share_its_class() {
        let host = HostMemory::new(u64::MAX, KeptSlots::default(), u64::MAX, Arc::default());
        let instance = instance(&host);
        let mut first = Limiter::new(instance.clone(), Footprint::default(), None).unwrap();
        let mut second = Limiter::new(instance.clone(), Footprint::default(), None).unwrap();
        assert!(ResourceLimiter::memory_growing(&mut first, 0, 1 << 30, None).unwrap());
        assert!(ResourceLimiter::memory_growing(&mut second, 0, 1 << 30, None).unwrap());
        assert!(!ResourceLimiter::memory_growing(&mut second, 1 << 30, (1 << 30) + 65_536, None).unwrap());
        assert_eq!(second.take_refusal(), Some(RefusedBy::Class));
        assert_eq!(second.take_refusal(), None);
        drop(first);
        assert!(ResourceLimiter::memory_growing(&mut second, 1 << 30, 2 << 30, None).unwrap());
        drop(second);
        assert_eq!((instance.held_bytes(), host.used_bytes(), host.workers()), (0, 0, 0));
    }

    #[test]
    fn the_hosts_budget_refuses_before_it_is_passed() {
        let host = HostMemory::new(100_000, KeptSlots::default(), u64::MAX, Arc::default());
        let instance = instance(&host);
        let mut limiter = Limiter::new(instance.clone(), Footprint::default(), None).unwrap();
        assert!(ResourceLimiter::memory_growing(&mut limiter, 0, 65_536, None).unwrap());
        assert!(!ResourceLimiter::memory_growing(&mut limiter, 65_536, 131_072, None).unwrap());
        assert_eq!(limiter.take_refusal(), Some(RefusedBy::Host));
        assert_eq!((instance.held_bytes(), host.used_bytes()), (65_536, 65_536));
    }

    #[test]
    fn what_the_process_holds_beyond_its_share_guests_get_less() {
        let host = HostMemory::new(1 << 20, KeptSlots::default(), 500_000, Arc::default());
        let instance = instance(&host);
        let mut limiter = Limiter::new(instance.clone(), Footprint::default(), None).unwrap();
        assert!(ResourceLimiter::memory_growing(&mut limiter, 0, 65_536, None).unwrap());
        host.observe_process(65_536 + 500_000);
        assert_eq!((host.withheld_bytes(), host.room_bytes()), (0, 1 << 20));
        host.observe_process(65_536 + 500_000 + (1 << 19));
        assert_eq!((host.withheld_bytes(), host.room_bytes()), (1 << 19, 1 << 19));
        assert!(!ResourceLimiter::memory_growing(&mut limiter, 65_536, 600_000, None).unwrap());
        assert_eq!(limiter.take_refusal(), Some(RefusedBy::Host));
        host.observe_process(u64::MAX);
        assert_eq!(host.room_bytes(), 0);
        host.observe_process(0);
        assert!(ResourceLimiter::memory_growing(&mut limiter, 65_536, 600_000, None).unwrap());
    }

    #[test]
    fn growth_that_fails_after_all_is_given_back() {
        let host = HostMemory::new(u64::MAX, KeptSlots::default(), u64::MAX, Arc::default());
        let mut limiter = Limiter::new(instance(&host), Footprint::default(), None).unwrap();
        assert!(ResourceLimiter::memory_growing(&mut limiter, 0, 65_536, None).unwrap());
        assert!(ResourceLimiter::memory_growing(&mut limiter, 65_536, 1 << 20, None).unwrap());
        ResourceLimiter::memory_grow_failed(&mut limiter, wasmtime::Error::msg("no pages")).unwrap();
        assert_eq!(host.used_bytes(), 65_536);
    }
}
