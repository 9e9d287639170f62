//! Runs the threads that serve: one event loop per core for requests, and the compute threads for guests that compute for longer
//! than a tick.
//!
//! A request stays on the core of its connection, so that no lock is waited for and no task moves as long as guests are quick. A
//! guest that computes through an epoch tick would delay the others on the loop, so its invocation moves to the compute threads,
//! which share their work among all cores. The kernel lets the mostly sleeping event loops run first (docs/decisions/).

mod interrupting;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use crate::limits;

thread_local! {
    static CORE: Cell<Option<usize>> = const { Cell::new(None) };
    static IS_COMPUTE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a compute thread: work here delays no event loop.
pub fn is_compute() -> bool {
    IS_COMPUTE.with(Cell::get)
}

/// Called before a guest is polled on this thread, because on a compute thread it may compute for long.
pub fn guest_runs() {
    if is_compute() {
        interrupting::computes();
    }
}

/// Number of guest polls on compute threads that cannot be interrupted.
static UNSTOPPABLE: AtomicUsize = AtomicUsize::new(0);

/// Runs `step`, which may take a second without a break. If it is on a compute thread and no other compute thread is free, the
/// tasks of this one go to a spare thread meanwhile.
pub fn while_others_go_on<T>(step: impl FnOnce() -> T) -> T {
    if !is_compute() {
        return step();
    }
    let under_way = UNSTOPPABLE.fetch_add(1, Ordering::Relaxed);
    let _ends = Unstoppable;
    let others_are_left = under_way + 1 < cores();
    if others_are_left || under_way >= limits::SPARE_COMPUTE_THREADS_MAX {
        return step();
    }
    tokio::task::block_in_place(step)
}

/// Counts in [`UNSTOPPABLE`] until it is dropped.
struct Unstoppable;

impl Drop for Unstoppable {
    fn drop(&mut self) {
        UNSTOPPABLE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The index of the event loop this thread runs, if it runs one.
pub fn own_core() -> Option<usize> {
    CORE.with(Cell::get)
}

/// The index of the event loop this thread runs; 0 on all other threads.
pub fn current_core() -> usize {
    own_core().unwrap_or_default()
}

/// Measures the processor time of what runs on this thread without waiting in between.
#[derive(Clone, Copy)]
pub struct Stopwatch(Started);

#[derive(Clone, Copy)]
enum Started {
    Clock(Instant),
    Thread(Duration),
}

impl Stopwatch {
    /// Begins at `now`. An event loop is pinned and has priority, so the clock shows nearly the thread's own processor time, for
    /// a tenth of the cost.
    pub fn start_at(now: Instant) -> Self {
        Self(if is_compute() { Started::Thread(thread_time()) } else { Started::Clock(now) })
    }

    /// Begins now, and measures the processor time of this thread, whichever it is.
    pub fn start_exact() -> Self {
        Self(Started::Thread(thread_time()))
    }

    /// Whether it measures processor time, and not the clock.
    pub fn is_exact(&self) -> bool {
        matches!(self.0, Started::Thread(_))
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        match self.0 {
            Started::Clock(begun) => begun.elapsed(),
            Started::Thread(begun) => thread_time().saturating_sub(begun),
        }
    }
}

/// Processor time that this thread has used.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// Returns how many event loops this machine gets: one per core that the process may use. Determined once, because several files
/// have to be read for it.
pub fn cores() -> usize {
    static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *CORES
}

/// The event loops and the compute threads. Dropping it ends them.
pub struct EventLoops {
    loops: Vec<EventLoop>,
    compute: Handle,
    compute_runtime: Option<Runtime>,
}

struct EventLoop {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EventLoops {
    /// Starts `cores` event loops and as many compute threads.
    pub fn start(cores: usize) -> io::Result<Self> {
        let compute = Builder::new_multi_thread()
            .worker_threads(cores)
            .thread_name("wfn-compute")
            .on_thread_start(begin_compute_thread)
            .enable_all()
            .build()?;
        let loops = (0..cores).map(EventLoop::start).collect::<io::Result<_>>()?;
        Ok(Self { loops, compute: compute.handle().clone(), compute_runtime: Some(compute) })
    }

    /// How many event loops there are.
    pub fn count(&self) -> usize {
        self.loops.len()
    }

    /// Runs `task` on the event loop of core `index`.
    pub fn spawn_on(&self, index: usize, task: impl Future<Output = ()> + Send + 'static) {
        self.loops[index].handle.spawn(task);
    }

    /// Returns all event loops, for tasks that belong to no connection.
    pub fn handles(&self) -> Vec<Handle> {
        self.loops.iter().map(|one| one.handle.clone()).collect()
    }

    /// The compute threads.
    pub fn compute(&self) -> Handle {
        self.compute.clone()
    }
}

impl EventLoop {
    fn start(index: usize) -> io::Result<Self> {
        let allowed = rustix::thread::sched_getaffinity(None);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_start(move || begin_blocking_thread(allowed.as_ref().ok()))
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(format!("wfn-loop-{index}")).spawn(move || {
            CORE.with(|core| core.set(Some(index)));
            pin_to_core(index);
            go_before_others();
            let _registered = interrupting::register();
            // Ends when told to, or when the other end is dropped.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for EventLoops {
    fn drop(&mut self) {
        for event_loop in &mut self.loops {
            drop(event_loop.stop.take());
        }
        for event_loop in &mut self.loops {
            if let Some(thread) = event_loop.thread.take() {
                // A panic there has been reported by the thread itself.
                let _ = thread.join();
            }
        }
        if let Some(compute) = self.compute_runtime.take() {
            compute.shutdown_background();
        }
    }
}

/// Keeps an event loop on its core: measured p99 is 0.7–1 ms pinned and up to 4 ms unpinned.
fn pin_to_core(index: usize) {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return };
    let allowed_cores = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    if let Some(cpu) = allowed_cores.into_iter().nth(index) {
        let mut one = rustix::thread::CpuSet::new();
        one.set(cpu);
        // Without the right to pin, the loop works all the same.
        let _ = rustix::thread::sched_setaffinity(None, &one);
    }
}

/// Raises the priority of an event loop. A client that is sent an answer wakes up on the same cores, and would otherwise take
/// them over after each one. Measured with the load generator on the same machine: half the context switches, a tenth more
/// requests a second. An event loop computes for at most two milliseconds before other threads get their turn.
pub(crate) fn go_before_others() {
    // Without the right to it, the default serves.
    let _ = rustix::process::nice(-10);
}

/// Prepares a thread for blocking work, such as reading the database. It inherits the core and priority of the event loop that
/// asked for it. It keeps the priority, because the loop's callers wait for it, but may run on any core.
fn begin_blocking_thread(allowed: Option<&rustix::thread::CpuSet>) {
    if let Some(allowed) = allowed {
        // Without the right to it, it works where it is.
        let _ = rustix::thread::sched_setaffinity(None, allowed);
    }
    interrupting::schedule(None, libc::SCHED_OTHER);
}

/// Lowers the priority of a compute thread against the event loops.
fn begin_compute_thread() {
    IS_COMPUTE.with(|compute| compute.set(true));
    // A thread's own nice value on Linux; where it may not be changed, the default serves.
    let _ = rustix::process::nice(5);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn as_many_as_there_are_threads_may_not_stop_and_others_go_on() {
        let loops = EventLoops::start(cores()).unwrap();
        let (ends, ended) = mpsc::channel();
        let releases: Vec<_> = (0..=cores())
            .map(|_| {
                let (release, released) = mpsc::channel::<()>();
                let ends = ends.clone();
                let (began, has_begun) = mpsc::channel();
                loops.compute().spawn(async move {
                    let step = || {
                        began.send(()).unwrap();
                        released.recv()
                    };
                    ends.send(while_others_go_on(step)).unwrap();
                });
                has_begun.recv_timeout(Duration::from_secs(60)).unwrap();
                release
            })
            .collect();
        loops.compute().spawn(async move { releases.iter().for_each(|release| release.send(()).unwrap()) });
        for _ in 0..=cores() {
            ended.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
        }
    }
}
