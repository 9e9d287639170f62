//! Holds what all pools of a host share and compete for: quota, memory, and what guests run on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::budget::capacity::CapacityNotifier;
use crate::budget::memory::HostMemory;
use crate::budget::quota::MemoryQuota;
use crate::instance::Instance;
use crate::instance::machinery::Machinery;
use crate::invocation::Throttle;
use crate::manifest::MemoryClass;
use crate::meter::machine;
use crate::meter::usage::keeper::UsageKeeper;
use crate::persist::db::Db;
use crate::persist::error::DbError;
use crate::pool::learned_concurrency::LearnedConcurrency;
use crate::pool::{Freed, Pool};

/// The shared part of all pools.
pub struct Resources {
    machinery: Arc<Machinery>,
    quota: Arc<MemoryQuota>,
    memory: Arc<HostMemory>,
    pools: Mutex<Vec<Weak<Pool>>>,
    capacity: Arc<CapacityNotifier>,
    learned: LearnedConcurrency,
    usage: UsageKeeper,
    /// Index of the pool that is served first when room comes free. It changes each time, so that all get their turn.
    first_served: AtomicUsize,
}

/// Share of the host's memory budget, in percent, above which no new instance is made. The rest lets the existing ones grow.
const NEW_INSTANCE_MEMORY_PERCENT: u64 = 95;

impl Resources {
    /// Resources of a host whose guests run on `machinery`.
    pub fn new(
        machinery: Machinery,
        quota: Arc<MemoryQuota>,
        memory: Arc<HostMemory>,
        capacity: Arc<CapacityNotifier>,
    ) -> Arc<Self> {
        Arc::new(Self {
            machinery: Arc::new(machinery),
            quota,
            memory,
            pools: Mutex::default(),
            capacity,
            learned: LearnedConcurrency::default(),
            usage: UsageKeeper::default(),
            first_served: AtomicUsize::new(0),
        })
    }

    /// What guests run on.
    pub fn machinery(&self) -> &Arc<Machinery> {
        &self.machinery
    }

    /// The memory quota.
    pub fn quota(&self) -> &Arc<MemoryQuota> {
        &self.quota
    }

    /// The budget of real memory.
    pub fn memory(&self) -> &Arc<HostMemory> {
        &self.memory
    }

    /// Reserves the quota for one more instance, then makes it.
    pub fn new_instance(&self, class: MemoryClass) -> Result<Arc<Instance>, Throttle> {
        if self.memory_is_short() {
            return Err(Throttle::HostMemory);
        }
        let lease = self.quota.reserve(class.megabytes()).ok_or(Throttle::MemoryQuota)?;
        Ok(Instance::new(class, self.memory.clone(), lease))
    }

    fn memory_is_short(&self) -> bool {
        self.is_short(self.memory.used_bytes())
    }

    fn is_short(&self, used_bytes: u64) -> bool {
        used_bytes > self.memory.room_bytes() / 100 * NEW_INSTANCE_MEMORY_PERCENT
    }

    /// Whether there is room for one more instance once `coming` is free.
    fn fits(&self, class: MemoryClass, coming: Freed) -> bool {
        let used_bytes = self.memory.used_bytes().saturating_sub(coming.bytes);
        self.quota.reserved_mb() + class.megabytes() <= self.quota.limit_mb() + coming.class_mb
            && !self.is_short(used_bytes)
    }

    /// Retires idle instances of other pools, one by one, until an instance of `asking` fits, now or once their memory is free
    /// (then [`CapacityNotifier`] tells). A pool calls it without holding its own lock.
    pub fn make_room(&self, asking: &Arc<Pool>) {
        let class = asking.policy().memory;
        let mut coming = Freed::default();
        for pool in self.pools().iter().filter(|pool| !Arc::ptr_eq(pool, asking)) {
            while !self.fits(class, coming) {
                let Some(freed) = pool.yield_one_idle() else { break };
                coming += freed;
            }
        }
    }

    /// Notes what the process holds. If guests have more than is left for them, retires idle instances until they have not, or
    /// until there are none.
    pub fn guard(&self) {
        let Some(bytes) = machine::anonymous_bytes() else { return };
        self.memory.observe_process(bytes);
        let mut coming = Freed::default();
        for pool in self.pools() {
            while self.memory.used_bytes().saturating_sub(coming.bytes) > self.memory.room_bytes() {
                let Some(freed) = pool.yield_one_idle() else { break };
                coming += freed;
            }
        }
    }

    /// Registers `pool`, so that its idle instances can be retired and its wait queue served.
    pub fn register(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock();
        pools.retain(|known| known.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// Returns the pools that exist.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns the concurrency that groups have found.
    pub fn learned(&self) -> &LearnedConcurrency {
        &self.learned
    }

    /// Returns the usage of apps.
    pub fn usage(&self) -> &UsageKeeper {
        &self.usage
    }

    /// Stores the usage of apps until now. Continues if the caller is cancelled.
    pub async fn store_usage(self: &Arc<Self>, db: &Arc<Db>) -> Result<(), DbError> {
        self.pools().iter().for_each(|pool| pool.publish_usage());
        let (resources, db) = (self.clone(), db.clone());
        let stored = tokio::spawn(async move { resources.usage.store(&db).await });
        stored.await.unwrap_or_else(|error| Err(DbError::of_task(error)))
    }

    /// Returns the notifier for pools that wait for room.
    pub fn capacity(&self) -> &CapacityNotifier {
        &self.capacity
    }

    /// Serves, in turns, the wait queues that wait for room whenever there may be some. Never ends.
    pub async fn serve_queues(&self) {
        loop {
            self.capacity.came().await;
            let mut pools = self.pools();
            if !pools.is_empty() {
                let first = self.first_served.fetch_add(1, Ordering::Relaxed) % pools.len();
                pools.rotate_left(first);
            }
            // If one pool finds no room, none that needs as much is asked.
            let mut refused_mb = u64::MAX;
            for pool in &pools {
                let class_mb = pool.policy().memory.megabytes();
                if class_mb < refused_mb && !pool.serve_queue_with_room() {
                    refused_mb = class_mb;
                }
            }
        }
    }
}
