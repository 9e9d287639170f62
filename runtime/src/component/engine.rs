//! Configures the wasmtime engines of this host, and the epoch ticker that keeps guests interruptible.
//!
//! There are two engines: calls on an engine without support for concurrency cost 30–40 % less, and only asynchronous guests need
//! that support.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::component::function_cache::FunctionCache;
use crate::component::inspect::GuestKind;
use crate::limits;

/// Which engine a guest is compiled for and runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// One invocation at a time per worker: p2 guests and commands.
    Sequential,
    /// Many invocations at a time per worker: p3 guests.
    Concurrent,
}

impl EngineKind {
    /// Both. Each is at the index of its number.
    pub const ALL: [Self; 2] = [Self::Sequential, Self::Concurrent];
}

impl GuestKind {
    /// The engine that guests of this kind need.
    pub fn engine_kind(self) -> EngineKind {
        match self {
            Self::P2 | Self::Command => EngineKind::Sequential,
            Self::P3 => EngineKind::Concurrent,
        }
    }
}

/// The settings that decide how code is compiled. They are the same for the compiling child and the serving host, so that the
/// host can load what the child wrote.
fn code_config(kind: EngineKind) -> Config {
    let mut config = Config::new();
    let concurrent = kind == EngineKind::Concurrent;
    config.concurrency_support(concurrent);
    config.wasm_component_model_async(concurrent);
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    config
}

/// Makes an engine that only compiles, for the compiling child. It uses every core that nobody else needs, and takes from
/// `functions` what was compiled before.
pub fn compiling_engine(kind: EngineKind, functions: Option<Arc<FunctionCache>>) -> wasmtime::Result<Engine> {
    let mut config = code_config(kind);
    if let Some(functions) = functions {
        config.enable_incremental_compilation(functions)?;
    }
    Engine::new(&config)
}

/// What used slots keep for the next worker. Written pages of a memory or table, up to so many bytes, are cleared in place instead of
/// being given back to the kernel: a call to give back costs all cores a TLB flush.
///
/// wasmtime never gives back what an unused slot keeps, and uses as many slots as there were workers at once. That belongs to no
/// worker, so it is set apart from the memory for guests.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeptSlots {
    slot_bytes: u64,
}

impl KeptSlots {
    /// Most bytes of a slot. Small Rust guests have memories of just over 1 MiB, and write less.
    const SLOT_BYTES_MAX: u64 = 2 * limits::MEBIBYTE;
    /// For so many slots memory is set apart: the most instances that an app may have.
    const SLOTS: u64 = limits::INSTANCES_MAX as u64;
    /// Which part of the memory for guests that is at most: one of so many.
    const PARTS: u64 = 16;

    /// What a host keeps that has `guest_memory_bytes` for guests. Nothing where swap is on: there wasmtime 48's scan for what was
    /// written misses pages that were swapped out.
    pub fn of(guest_memory_bytes: u64) -> Self {
        let most = (guest_memory_bytes / Self::PARTS / Self::SLOTS).min(Self::SLOT_BYTES_MAX);
        let whole_pages = most - most % PAGE_BYTES;
        Self { slot_bytes: if swap_is_on() { 0 } else { whole_pages } }
    }

    /// Bytes that one keeps at most.
    pub fn slot_bytes(self) -> u64 {
        self.slot_bytes
    }

    /// Bytes that are set apart for all.
    pub fn bytes(self) -> u64 {
        self.slot_bytes * Self::SLOTS
    }
}

/// Bytes of a page of memory.
pub const PAGE_BYTES: u64 = 4_096;

/// The engines that serve. Cheap to clone.
#[derive(Clone)]
pub struct Engines {
    sequential: Engine,
    concurrent: Engine,
}

impl Engines {
    /// Makes both engines and reserves their address space.
    pub fn new(kept: KeptSlots) -> wasmtime::Result<Self> {
        small_pages_only();
        Ok(Self {
            sequential: serving_engine(EngineKind::Sequential, kept)?,
            concurrent: serving_engine(EngineKind::Concurrent, kept)?,
        })
    }

    /// The engine of `kind`.
    pub fn get(&self, kind: EngineKind) -> &Engine {
        match kind {
            EngineKind::Sequential => &self.sequential,
            EngineKind::Concurrent => &self.concurrent,
        }
    }

    fn increment_epoch(&self) {
        self.sequential.increment_epoch();
        self.concurrent.increment_epoch();
    }
}

/// Makes an engine whose instances are in preallocated slots.
fn serving_engine(kind: EngineKind, kept: KeptSlots) -> wasmtime::Result<Engine> {
    let (workers, stacks) = match kind {
        EngineKind::Sequential => (limits::WORKERS_MAX, limits::WORKERS_MAX),
        EngineKind::Concurrent => (limits::ASYNC_WORKERS_MAX, limits::ASYNC_STACKS_MAX),
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(workers)
        .total_core_instances(workers * 4)
        .total_memories(workers + workers / 4)
        .total_tables(workers * 2)
        .total_stacks(stacks)
        // Each takes one of the memories above.
        .total_gc_heaps(workers)
        .max_core_instances_per_component(200)
        .max_memories_per_component(16)
        .max_tables_per_component(32)
        .max_memories_per_module(4)
        .max_tables_per_module(16)
        .max_component_instance_size(10 * 1024 * 1024)
        .max_core_instance_size(10 * 1024 * 1024)
        .table_elements(limits::TABLE_ELEMENTS_MAX);
    if kept.slot_bytes > 0 {
        // Halves the price of a fresh worker.
        pool.pagemap_scan(Enabled::Auto)
            .linear_memory_keep_resident(kept.slot_bytes as usize)
            .table_keep_resident(kept.slot_bytes as usize);
    }
    let mut config = code_config(kind);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Has the kernel give this process small pages only: what guests write is counted by page faults ([`crate::budget::pages`]), and a
/// large page would be 512 of them for one fault. Many systems give large pages unasked.
fn small_pages_only() {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: the call changes one setting of this process, and reads no memory.
    #[expect(unsafe_code, reason = "no library that is in use here offers the call")]
    // A kernel without large pages does not know it.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused) };
}

/// Whether this machine uses swap space. If that cannot be read, it counts as used.
pub fn swap_is_on() -> bool {
    std::fs::read_to_string("/proc/swaps").map_or(true, |swaps| swaps.lines().count() > 1)
}

/// Returns the name of the machine code that `engine` can load. It is part of the path of cached artifacts.
pub fn compatibility_key(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Advances the epoch of the engines every [`limits::EPOCH_TICK`] while guests run, and sleeps without
/// waking up while none does.
pub struct EpochTicker {
    shared: Arc<TickerShared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct TickerShared {
    /// Set when a guest is polled. The ticker resets it once per window.
    active: AtomicBool,
    parked: AtomicBool,
    stop: AtomicBool,
}

/// Ticks between two checks whether guests still run.
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
    /// Notes that a guest is about to run. A guest is polled at least once a tick, so one beat per poll is enough.
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
    /// Starts the ticker thread for `engines`; the pulse keeps it awake.
    pub fn start(engines: Engines) -> std::io::Result<(Self, Pulse)> {
        let shared = Arc::new(TickerShared::default());
        let ticking = shared.clone();
        let thread =
            thread::Builder::new().name("wfn-epoch".into()).spawn(move || tick(&engines, &ticking))?;
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

fn tick(engines: &Engines, shared: &TickerShared) {
    let mut idle_windows = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        for _ in 0..WINDOW_TICKS {
            thread::sleep(limits::EPOCH_TICK);
            engines.increment_epoch();
        }
        idle_windows = if shared.active.swap(false, Ordering::SeqCst) { 0 } else { idle_windows + 1 };
        if idle_windows >= IDLE_WINDOWS {
            shared.parked.store(true, Ordering::SeqCst);
            // A guest that begins after this sees `parked` and unparks the ticker. One that began before is seen here.
            while !shared.active.load(Ordering::SeqCst) && !shared.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            shared.parked.store(false, Ordering::SeqCst);
            idle_windows = 0;
        }
    }
}
