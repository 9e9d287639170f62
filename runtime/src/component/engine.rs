//! The wasmtime engine, as this host configures it, and the epoch ticker that keeps guests interruptible.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits;

/// What decides how code is compiled: the same for the compiling child and the serving host, so that the
/// host loads what the child wrote.
fn code_config() -> Config {
    let mut config = Config::new();
    // 30–40 % less CPU per call for guests that take one invocation at a time; asynchronous guests will
    // get an engine of their own (docs/decisions).
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.wasm_memory64(false);
    config.memory_init_cow(true);
    config
}

/// An engine that only compiles; used by the compiling child.
pub fn compiling_engine() -> wasmtime::Result<Engine> {
    // Without the feature for it, compiling takes one thread; the other cores serve.
    Engine::new(&code_config())
}

/// How much of a used memory or table is cleared in place, page by dirty page, instead of being given back to
/// the kernel: a call to give back costs all cores a TLB flush. Small Rust guests have memories of just over
/// 1 MiB. Only the latest hundred unused slots keep theirs.
const KEEP_RESIDENT_BYTES: usize = 2 * 1024 * 1024;

/// The engine that serves: instances come out of preallocated slots.
pub fn serving_engine() -> wasmtime::Result<Engine> {
    let workers = limits::WORKERS_MAX;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(workers)
        .total_core_instances(workers * 4)
        .total_memories(workers + workers / 4)
        .total_tables(workers * 2)
        .total_stacks(workers)
        .max_core_instances_per_component(200)
        .max_memories_per_component(16)
        .max_tables_per_component(32)
        .max_memories_per_module(4)
        .max_tables_per_module(16)
        .max_component_instance_size(10 * 1024 * 1024)
        .max_core_instance_size(10 * 1024 * 1024)
        .table_elements(limits::TABLE_ELEMENTS_MAX);
    if !swap_is_on() {
        // Halves the price of a fresh worker. wasmtime 48's scan misses pages that were swapped out, so
        // where swap is on, slots are cleared the slow way.
        pool.pagemap_scan(Enabled::Auto)
            .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
            .table_keep_resident(KEEP_RESIDENT_BYTES);
    }
    let mut config = code_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Whether any swap space is in use on this machine. Where that cannot be read it counts as on.
pub fn swap_is_on() -> bool {
    std::fs::read_to_string("/proc/swaps").map_or(true, |swaps| swaps.lines().count() > 1)
}

/// Names the machine code that `engine` can load: goes into the path of cached artifacts.
pub fn compatibility_key(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Advances the epoch of an engine every [`limits::EPOCH_TICK`] while guests run, and sleeps without
/// waking up while none does.
pub struct EpochTicker {
    shared: Arc<TickerShared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct TickerShared {
    /// Set when a guest is polled; taken back by the ticker once per window.
    active: AtomicBool,
    parked: AtomicBool,
    stop: AtomicBool,
}

/// Ticks between two looks at whether guests still run.
const WINDOW_TICKS: u32 = 64;
/// Windows without a guest after which the ticker parks.
const IDLE_WINDOWS: u32 = 16;

/// Keeps the ticker awake; cheap to clone and to use.
#[derive(Clone)]
pub struct Pulse {
    shared: Arc<TickerShared>,
    thread: Thread,
}

impl Pulse {
    /// Says that a guest is about to run. A guest never runs longer than a tick without being polled
    /// again, so a beat per poll is enough.
    pub fn beat(&self) {
        if !self.shared.active.load(Ordering::Relaxed) {
            self.shared.active.store(true, Ordering::SeqCst);
        }
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

impl EpochTicker {
    /// Starts the ticker thread for `engine`; the pulse keeps it awake.
    pub fn start(engine: Engine) -> std::io::Result<(Self, Pulse)> {
        let shared = Arc::new(TickerShared::default());
        let ticking = shared.clone();
        let thread =
            thread::Builder::new().name("wfn-epoch".into()).spawn(move || tick(&engine, &ticking))?;
        let pulse = Pulse { shared: shared.clone(), thread: thread.thread().clone() };
        Ok((Self { shared, thread: Some(thread) }, pulse))
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the ticker has been reported by its own thread; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

fn tick(engine: &Engine, shared: &TickerShared) {
    let mut idle_windows = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        for _ in 0..WINDOW_TICKS {
            thread::sleep(limits::EPOCH_TICK);
            engine.increment_epoch();
        }
        idle_windows = if shared.active.swap(false, Ordering::SeqCst) { 0 } else { idle_windows + 1 };
        if idle_windows >= IDLE_WINDOWS {
            shared.parked.store(true, Ordering::SeqCst);
            // Whoever begins from here on sees `parked` and unparks; whoever began before is seen now.
            while !shared.active.load(Ordering::SeqCst) && !shared.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            shared.parked.store(false, Ordering::SeqCst);
            idle_windows = 0;
        }
    }
}
