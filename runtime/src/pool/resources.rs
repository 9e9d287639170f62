//! What all pools of a host share and compete for: quota, memory, the engine, the compute threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    /// The line of some pool waits for quota or memory.
    room_wanted: AtomicBool,
    /// Which pool is served first when room comes free: each in turn.
    first_served: AtomicUsize,
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
        let (room_wanted, first_served) = (AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Self {
            engines,
            pulse,
            compute,
            cores,
            quota,
            memory,
            pools,
            room,
            room_wanted,
            first_served,
        })
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

    /// Says that a line is about to wait for quota or memory. Called before the last attempt to make room, so that
    /// what falls idle after that is not missed.
    pub fn want_room(&self) {
        self.room_wanted.store(true, Ordering::SeqCst);
    }

    /// Whether nobody has gone round the lines since [`Self::want_room`].
    pub fn is_room_wanted(&self) -> bool {
        self.room_wanted.load(Ordering::SeqCst)
    }

    /// Says that quota or memory came free, or that an instance fell idle which may make room: for lines that wait
    /// for it.
    pub fn room_may_be_made(&self) {
        if self.is_room_wanted() {
            self.room.notify_one();
        }
    }

    /// Goes round the lines that wait for room whenever there may be some. Never ends.
    pub async fn serve_lines(&self) {
        loop {
            self.room.notified().await;
            self.room_wanted.store(false, Ordering::SeqCst);
            let mut pools = self.pools();
            if !pools.is_empty() {
                let first = self.first_served.fetch_add(1, Ordering::Relaxed) % pools.len();
                pools.rotate_left(first);
            }
            // Who finds no room stands for all that need as much.
            let mut refused_mb = u64::MAX;
            for pool in &pools {
                let class_mb = pool.policy().memory.megabytes();
                if class_mb < refused_mb && !pool.serve_line_with_room() {
                    refused_mb = class_mb;
                }
            }
        }
    }
}
