//! What all pools of a host share and compete for: quota, memory, the engine, the compute threads.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::app::manifest::MemoryClass;
use crate::component::engine::{Engines, Pulse};
use crate::instance::Instance;
use crate::instance::limiter::HostMemory;
use crate::invocation::Throttle;
use crate::pool::Pool;
use crate::pool::quota::MemoryQuota;

/// The shared part of all pools.
pub struct Resources {
    engines: Engines,
    pulse: Pulse,
    compute: Handle,
    cores: usize,
    quota: Arc<MemoryQuota>,
    memory: Arc<HostMemory>,
    pools: Mutex<Vec<Weak<Pool>>>,
    room: Notify,
}

/// Share of the host's memory budget, in percent, above which no new instance is made: what is left lets
/// the present ones grow.
const NEW_INSTANCE_MEMORY_PERCENT: u64 = 95;

impl Resources {
    /// Resources of a host whose guests run on `engines`.
    pub fn new(
        engines: Engines,
        pulse: Pulse,
        compute: Handle,
        cores: usize,
        quota: Arc<MemoryQuota>,
        memory: Arc<HostMemory>,
    ) -> Arc<Self> {
        let (pools, room) = (Mutex::default(), Notify::new());
        Arc::new(Self { engines, pulse, compute, cores, quota, memory, pools, room })
    }

    /// The engines guests run on.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// Keeps guests interruptible.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The threads for guests that compute.
    pub fn compute(&self) -> &Handle {
        &self.compute
    }

    /// How many event loops there are.
    pub fn cores(&self) -> usize {
        self.cores
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
        let nearly_full = self.memory.limit_bytes() / 100 * NEW_INSTANCE_MEMORY_PERCENT;
        if self.memory.used_bytes() > nearly_full {
            return Err(Throttle::HostMemory);
        }
        let lease = self.quota.reserve(class.megabytes()).ok_or(Throttle::MemoryQuota)?;
        Ok(Instance::new(class, self.memory.clone(), lease))
    }

    /// Retires idle instances of other pools, one by one, until an instance of `asking` fits. A pool calls
    /// it without holding its own lock.
    pub fn make_room(&self, asking: &Arc<Pool>) {
        let class = asking.policy().memory;
        for pool in self.pools().iter().filter(|pool| !Arc::ptr_eq(pool, asking)) {
            while self.new_instance(class).is_err() {
                if !pool.yield_one_idle() {
                    break;
                }
            }
        }
    }

    /// Makes `pool` known, for retiring idle instances and serving its line.
    pub fn register(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock();
        pools.retain(|known| known.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// The pools that exist.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Says that quota or memory came free, for pools whose line waits for it.
    pub fn room_came_free(&self) {
        self.room.notify_one();
    }

    /// Waits until room came free.
    pub async fn room(&self) {
        self.room.notified().await;
    }
}
