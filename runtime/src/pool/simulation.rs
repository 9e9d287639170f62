//! A thousand apps on one host, on virtual time: the real pools, wait queue, pace and quota, with guests that only hold
//! their slots. Bursts, slow guests, crashes, clients that leave, deploys in between.
//!
//! `WFN_SIMULATION_SEED=7` repeats a run, `WFN_SIMULATION_RUNS=50` makes more of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::time::sleep;
use wasmtime::Module;

use crate::budget::capacity::CapacityNotifier;
use crate::budget::memory::HostMemory;
use crate::budget::quota::MemoryQuota;
use crate::capability::{CapabilityHost, testing};
use crate::component::cache::Guest;
use crate::component::code::Code;
use crate::component::engine::{EngineKind, Engines, EpochTicker, KeptSlots};
use crate::component::instance_size::Footprint;
use crate::instance::machinery::Machinery;
use crate::instance::template::Template;
use crate::invocation::{Outcome, Throttle};
use crate::manifest::{Language, MemoryClass, OrAuto, ScaleOut, ScalePolicy};
use crate::names::RevisionId;
use crate::pool::resources::Resources;
use crate::pool::{NotTaken, Pool};
use crate::{clock, limits};

const APPS: usize = 1_000;
/// Instances of the smaller class that the quota has room for.
const INSTANCES: u64 = 10_000;
/// For so long requests come.
const LOAD: Duration = Duration::from_secs(10);

/// An even number of milliseconds, so that the inspector, who comes at odd ones, meets no timer.
fn milliseconds(random: &mut Rng, end: u64) -> Duration {
    Duration::from_millis(2 + random.u64(0..end / 2) * 2)
}

fn policy(random: &mut Rng) -> ScalePolicy {
    ScalePolicy {
        memory: if random.u8(0..8) == 0 { MemoryClass::Mb4096 } else { MemoryClass::Mb2048 },
        is_dynamic: false,
        concurrency: [1, 1, 2, 4, 16][random.usize(0..5)],
        workers: OrAuto::Auto,
        always_ready: if random.u8(0..4) == 0 { random.u32(1..=2) } else { 0 },
        max_instances: random.u32(1..=120),
        scale_out: ScaleOut { burst: random.u32(1..=120), per_second: [1, 10, 100][random.usize(0..3)] },
        idle_timeout: milliseconds(random, 4_000),
        timeout: limits::TIMEOUT_DEFAULT,
        isolation: Default::default(),
    }
}

/// What became of the invocations.
#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    served: AtomicU64,
    left: AtomicU64,
    refused: AtomicU64,
    /// How often the inspector met a queue that waited for the quota.
    waits_for_quota: AtomicU64,
}

struct World {
    engines: Engines,
    resources: Arc<Resources>,
    capabilities: Arc<CapabilityHost>,
    module: Module,
    apps: Vec<Mutex<Arc<Pool>>>,
    counts: Counts,
}

impl World {
    fn pool(&self, policy: ScalePolicy) -> Arc<Pool> {
        let code = Code::Command(self.module.clone());
        let guest = Guest { code, language: Language::Other, footprint: Footprint::default() };
        let capabilities = testing::nothing(&self.capabilities);
        let template =
            Template::new(&self.engines, &guest, capabilities, RevisionId(1), "http", policy).unwrap();
        Pool::new(template, self.resources.clone())
    }

    /// Calls one app now and then, sometimes often at once.
    async fn call(self: Arc<Self>, app: usize, mut random: Rng) {
        let end = clock::now() + LOAD;
        let is_slow = random.bool();
        while clock::now() < end {
            sleep(milliseconds(&mut random, 2_000)).await;
            let burst = if random.u8(0..4) == 0 { random.u32(1..=120) } else { 1 };
            for _ in 0..burst {
                let held = milliseconds(&mut random, if is_slow { 6_000 } else { 100 });
                let patience = (random.u8(0..10) == 0).then(|| milliseconds(&mut random, 2_000));
                let crashes = random.u8(0..20) == 0;
                tokio::spawn(self.clone().invoke(app, held, patience, crashes));
            }
        }
    }

    async fn invoke(self: Arc<Self>, app: usize, held: Duration, patience: Option<Duration>, crashes: bool) {
        self.counts.begun.fetch_add(1, Ordering::Relaxed);
        let asked = clock::now();
        let take = async {
            loop {
                let pool = self.apps[app].lock().clone();
                match pool.take().await {
                    Err(NotTaken::Draining) => {}
                    taken => return taken,
                }
            }
        };
        let taken = tokio::time::timeout(patience.unwrap_or(Duration::from_secs(3_600)), take).await;
        let waited = clock::now() - asked;
        assert!(waited <= limits::WAIT_MAX + Duration::from_millis(2), "an answer took {waited:?}");
        let counter = match taken {
            Err(_) => &self.counts.left,
            Ok(Err(_)) => &self.counts.refused,
            Ok(Ok(mut slot)) => {
                sleep(held).await;
                if crashes && let Ok(worker) = slot.worker(clock::now() + limits::START_TIMEOUT).await {
                    slot.retire(worker);
                }
                &self.counts.served
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether an invocation has a slot or waits for one.
    fn is_busy(&self) -> bool {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { begun, served, left, refused, .. } = &self.counts;
        count(begun) > count(served) + count(left) + count(refused)
    }

    /// Looks at every pool between two moments, when all that could be done has been done.
    async fn inspect(self: Arc<Self>) {
        sleep(Duration::from_millis(1)).await;
        loop {
            sleep(Duration::from_millis(50)).await;
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            self.check();
        }
    }

    fn check(&self) {
        let (quota, now) = (self.resources.quota(), clock::now());
        assert!(quota.reserved_mb() <= quota.limit_mb());
        assert!(self.resources.memory().workers() <= limits::WORKERS_MAX);
        let free_mb = quota.limit_mb() - quota.reserved_mb();
        let idle: usize =
            self.resources.pools().iter().map(|pool| pool.state.lock().ledger.idle_surplus()).sum();
        for pool in self.resources.pools() {
            let (policy, state) = (pool.policy, pool.state.lock());
            let (instances, in_flight) = (state.ledger.instances(), state.ledger.in_flight());
            let most = (policy.always_ready + policy.max_instances) as usize;
            let slots = instances * policy.concurrency as usize;
            assert!(instances <= most && in_flight <= slots, "{instances} instances, {in_flight} in flight");
            let waiting = state.queue.waiting();
            if waiting == 0 {
                continue;
            }
            assert_eq!(in_flight, slots, "{waiting} wait although there is a free slot");
            if instances < most && state.pace.wait(now).is_zero() {
                let class_mb = policy.memory.megabytes();
                assert!(
                    free_mb < class_mb && idle == 0 && state.queue.throttle == Throttle::MemoryQuota,
                    "{waiting} wait for {:?} although {free_mb} MB are free and {idle} instances idle",
                    state.queue.throttle,
                );
                self.counts.waits_for_quota.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Retires what is idle, as the host does, and deploys an app again now and then.
    async fn look_after(self: Arc<Self>, mut random: Rng) {
        loop {
            sleep(Duration::from_millis(250)).await;
            for pool in self.resources.pools() {
                pool.retire_idle(clock::now());
                if let Err(fault) = pool.fill_always_ready().await {
                    assert_eq!(fault.outcome, Outcome::Throttled(Throttle::WorkerCount));
                }
            }
            let app = random.usize(0..APPS);
            let next = self.pool(policy(&mut random));
            let old = std::mem::replace(&mut *self.apps[app].lock(), next);
            old.drain();
        }
    }
}

fn simulate(seed: u64) {
    println!("seed {seed}");
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let engines = Engines::new(KeptSlots::default()).unwrap();
    let (_ticker, pulse) = EpochTicker::start(engines.clone()).unwrap();
    let wat = "(module (func (export \"_start\")))";
    let module = Module::new(engines.get(EngineKind::Sequential), wat::parse_str(wat).unwrap()).unwrap();
    runtime.block_on(async {
        let (room, quota_mb) = (Arc::<CapacityNotifier>::default(), INSTANCES * 2_048);
        let (quota, memory) = (MemoryQuota::new(quota_mb, room.clone()), HostMemory::new(u64::MAX, KeptSlots::default(), u64::MAX, room.clone()));
        let machinery = Machinery::new(engines.clone(), pulse, Handle::current(), 1);
        let resources = Resources::new(machinery, quota, memory, room);
        let mut random = Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let capabilities = testing::host(folder.path()).await;
        let (apps, counts) = (Vec::new(), Counts::default());
        let mut world = World { engines, resources, capabilities, module, apps, counts };
        for _ in 0..APPS {
            let pool = world.pool(policy(&mut random));
            world.apps.push(Mutex::new(pool));
        }
        let world = Arc::new(world);
        let serving = world.resources.clone();
        let background = [
            tokio::spawn(async move { serving.serve_queues().await }),
            tokio::spawn(world.clone().look_after(random.fork())),
            tokio::spawn(world.clone().inspect()),
        ];
        let callers: Vec<_> =
            (0..APPS).map(|app| tokio::spawn(world.clone().call(app, random.fork()))).collect();
        for caller in callers {
            caller.await.unwrap();
        }
        // The last may wait for their slot, and then hold it.
        let longest = clock::now() + limits::WAIT_MAX + Duration::from_secs(7);
        while world.is_busy() && clock::now() < longest {
            sleep(Duration::from_secs(1)).await;
        }
        for task in background {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled(), "a bound was passed, see above");
        }
        world.check();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &world.counts;
        let ended = count(&counts.served) + count(&counts.left) + count(&counts.refused);
        assert_eq!(count(&counts.begun), ended, "invocations were lost");
        let peak: usize = world.resources.pools().iter().map(|pool| pool.view().instances_peak).sum();
        println!(
            "{} served, {} left, {} refused, {} queues seen waiting for the quota, peaks of all apps together {peak}",
            count(&counts.served),
            count(&counts.left),
            count(&counts.refused),
            count(&counts.waits_for_quota)
        );
        assert!(count(&counts.served) > count(&counts.refused) && peak > 3 * APPS, "too little happened");
        assert!(count(&counts.waits_for_quota) > 0, "the quota was never short");
        for app in &world.apps {
            let state = app.lock().state.lock().ledger.in_flight();
            assert_eq!(state, 0, "a slot was not given back");
        }
    });
}

#[test]
fn a_thousand_apps_share_ten_thousand_instances_within_every_bound() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("WFN_SIMULATION_SEED").unwrap_or(1);
    for seed in first..first + number("WFN_SIMULATION_RUNS").unwrap_or(1) {
        simulate(seed);
    }
}
