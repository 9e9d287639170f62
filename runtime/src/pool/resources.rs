//! What all pools of a host share and compete for: quota, memory, what guests run on.

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
    /// Which pool is served first when room comes free: each in turn.
    first_served: AtomicUsize,
}

/// Share of the host's memory budget, in percent, above which no new instance is made: what is left lets
/// the present ones grow.
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
        used_bytes > self.memory.limit_bytes() / 100 * NEW_INSTANCE_MEMORY_PERCENT
    }

    /// Whether there is room for one more instance as soon as `coming` is free.
    fn fits(&self, class: MemoryClass, coming: Freed) -> bool {
        let used_bytes = self.memory.used_bytes().saturating_sub(coming.bytes);
        self.quota.reserved_mb() + class.megabytes() <= self.quota.limit_mb() + coming.class_mb
            && !self.is_short(used_bytes)
    }

    /// Retires idle instances of other pools, one by one, until an instance of `asking` fits, now or as soon as their
    /// memory is free: then [`CapacityNotifier`] says so. A pool calls it without holding its own lock.
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

    /// Makes `pool` known, for retiring idle instances and serving its wait queue.
    pub fn register(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock();
        pools.retain(|known| known.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// The pools that exist.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// The concurrency that groups have found.
    pub fn learned(&self) -> &LearnedConcurrency {
        &self.learned
    }

    /// What apps have used.
    pub fn usage(&self) -> &UsageKeeper {
        &self.usage
    }

    /// Stores what apps have used until now. Goes on if it is cancelled.
    pub async fn store_usage(self: &Arc<Self>, db: &Arc<Db>) -> Result<(), DbError> {
        self.pools().iter().for_each(|pool| pool.publish_usage());
        let (resources, db) = (self.clone(), db.clone());
        let stored = tokio::spawn(async move { resources.usage.store(&db).await });
        stored.await.unwrap_or_else(|error| Err(DbError::of_task(error)))
    }

    /// Who waits for room, and hears of it.
    pub fn capacity(&self) -> &CapacityNotifier {
        &self.capacity
    }

    /// Goes round the queues that wait for room whenever there may be some. Never ends.
    pub async fn serve_lines(&self) {
        loop {
            self.capacity.came().await;
            let mut pools = self.pools();
            if !pools.is_empty() {
                let first = self.first_served.fetch_add(1, Ordering::Relaxed) % pools.len();
                pools.rotate_left(first);
            }
            // Who finds no room stands for all that need as much.
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
