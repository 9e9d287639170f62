//! A worker for WASI 0.3 HTTP guests: one store with one live component that runs many invocations at a time.
//!
//! The store's event loop is one future ([`serve`]). A thread that brings work polls it in place; its own task ([`drive`]) polls
//! it when something that it waited for has come. If a guest computes through a tick, that task moves to the compute threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::HOST;
use http::uri::Scheme;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use wasmtime::component::Accessor;
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};

use crate::budget::memory::WorkerMemory;
use crate::event_loop::current_core;
use crate::instance::guest::Guest;
use crate::instance::guest_task::{self, GuestTask};
use crate::instance::in_flight::{InFlight, NewCall, WorkerAnswer};
use crate::instance::machinery::Machinery;
use crate::instance::sandbox::{self, DeadlinePassed};
use crate::instance::start::Start;
use crate::instance::verdict::Verdict;
use crate::instance::waker::{ServeWaker, WorkerWaker};
use crate::instance::written;
use crate::invocation::InvocationId;
use crate::limits;
use crate::manifest::{Isolation, OrAuto, ScalePolicy};
use crate::meter::GroupMeter;
use crate::meter::output::GuestOutput;
use crate::request::{GuestRequest, Origin, is_secure};

/// One live component with its event loop.
pub struct AsyncWorker {
    in_flight: Arc<InFlight>,
    /// `None` once it is over. Locked by the thread that polls it.
    event_loop: Mutex<Option<EventLoop>>,
    wakes: Arc<WorkerWaker>,
    /// Wakes the worker. Always the same, so that what waits need not register another.
    waker: Waker,
    /// The guest computed when it was last polled, so only the worker's own task polls it.
    computes: AtomicBool,
    /// The core of the first caller. The worker's own task runs on its event loop. [`NO_CORE`] before.
    home: AtomicUsize,
    /// Calls from other cores.
    far_calls: AtomicU32,
    /// What its store holds. Kept here, because the store itself is inside the event loop.
    memory: Arc<WorkerMemory>,
    meter: Arc<GroupMeter>,
    machinery: Arc<Machinery>,
}

type EventLoop = GuestTask<()>;

/// How many times one caller polls the event loop for work that comes meanwhile. After that its own task does.
const TURNS_IN_A_ROW_MAX: u32 = 8;

/// No core: the worker has not been called yet.
const NO_CORE: usize = usize::MAX;

/// Result of a turn of the event loop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Every task in it waits.
    Waits,
    /// A guest has been computing.
    Computes,
    /// The worker is gone.
    Over,
}

/// An invocation in a worker, as its caller sees it. Dropping it frees its place there.
pub struct AsyncCall {
    worker: Arc<AsyncWorker>,
    invocation: InvocationId,
    /// Its answer; nothing, if the worker ended and [`Self::verdict`] says how.
    pub answer: oneshot::Receiver<WorkerAnswer>,
    /// How it failed after its answer.
    pub verdict: Arc<Verdict>,
}

impl AsyncWorker {
    /// Instantiates a component. `guest` is its store data.
    pub fn start(
        pre: ServicePre<Guest>,
        guest: Guest,
        output: GuestOutput,
        policy: ScalePolicy,
        meter: Arc<GroupMeter>,
        machinery: &Arc<Machinery>,
    ) -> Start<Arc<Self>> {
        let machinery = machinery.clone();
        GuestTask::quick(async move {
            let mut store = sandbox::store(pre.engine(), guest);
            let paged = written::of(store.data().limiter.memory());
            match written::counted(paged, Box::pin(pre.instantiate_async(&mut store))).await {
                Ok(service) => {
                    sandbox::started(&mut store, &policy)?;
                    Ok(Self::new(store, service, output, policy, meter, machinery))
                }
                Err(error) => Err(sandbox::start_fault(&error, &mut store.data_mut().limiter, &policy)),
            }
        })
    }

    fn new(
        mut store: Store<Guest>,
        service: Service,
        output: GuestOutput,
        policy: ScalePolicy,
        meter: Arc<GroupMeter>,
        machinery: Arc<Machinery>,
    ) -> Arc<Self> {
        let memory = store.data().limiter.memory().clone();
        let start_bytes = memory.charged_bytes();
        let workers = match policy.workers {
            OrAuto::Auto => machinery.cores() as u32,
            OrAuto::Fixed(count) => count.get(),
        };
        let in_flight = Arc::new(InFlight::new(output, policy, start_bytes, workers));
        let watched = in_flight.clone();
        store.epoch_deadline_callback(move |mut context| {
            let task = context.async_call_stack()?.last();
            if watched.is_overdue(task, Instant::now()) {
                return Err(DeadlinePassed.into());
            }
            Ok(sandbox::interrupted(1))
        });
        let wakes = Arc::<WorkerWaker>::default();
        let serve_waker = Arc::new(ServeWaker(wakes.clone()));
        let mut ending =
            GuestTask::new(run(store, service, in_flight.clone(), serve_waker, machinery.compute().clone()));
        if memory.is_large() {
            ending.may_not_stop();
        }
        Arc::new(Self {
            in_flight,
            event_loop: Mutex::new(Some(ending)),
            waker: Waker::from(wakes.clone()),
            wakes,
            computes: AtomicBool::new(false),
            home: AtomicUsize::new(NO_CORE),
            far_calls: AtomicU32::new(0),
            memory,
            meter,
            machinery,
        })
    }

    /// Begins an invocation: hands `request` to the guest, which runs on this thread until it waits.
    pub fn call(
        self: &Arc<Self>,
        request: GuestRequest,
        origin: Origin,
        invocation: InvocationId,
        deadline: Instant,
    ) -> AsyncCall {
        let (answered, answer) = oneshot::channel();
        let verdict = Arc::<Verdict>::default();
        self.in_flight.join(NewCall {
            invocation,
            request,
            origin,
            deadline,
            answer: answered,
            verdict: verdict.clone(),
        });
        if self.in_flight.policy().isolation == Isolation::Fresh {
            self.in_flight.retire(false);
        }
        if self.home.load(Ordering::Relaxed) == NO_CORE
            && self
                .home
                .compare_exchange(NO_CORE, current_core(), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            drive(self.clone(), Handle::current());
        }
        self.wakes.mark_serve_woken();
        if self.is_apart() {
            self.waker.wake_by_ref();
        } else {
            self.turn();
        }
        AsyncCall { worker: self.clone(), invocation, answer, verdict }
    }

    /// Returns how many invocations are in it.
    pub fn load(&self) -> u32 {
        self.in_flight.load()
    }

    /// Whether a guest has been computing in it.
    pub fn computes(&self) -> bool {
        self.computes.load(Ordering::Acquire)
    }

    /// Whether only the compute threads poll it: its guest has computed, or may compute for any time without interruption because
    /// of its memory.
    fn is_apart(&self) -> bool {
        self.computes() || self.memory.is_large()
    }

    /// Whether it cannot run anything new at this moment.
    pub fn is_busy(&self) -> bool {
        self.is_apart() || self.event_loop.is_locked()
    }

    /// Whether `core` is its own, or it has none yet.
    pub fn is_near(&self, core: usize) -> bool {
        let home = self.home.load(Ordering::Relaxed);
        home == core || home == NO_CORE
    }

    /// Whether `core`, which is about to call it, is not its own, and there were so many such calls that a worker for that core
    /// is worth its start. Each such call wakes two threads.
    pub fn is_called_from_afar(&self, core: usize) -> bool {
        !self.is_near(core) && self.far_calls.fetch_add(1, Ordering::Relaxed) >= limits::FAR_CALLS_MAX
    }

    /// Whether it takes no more invocations.
    pub fn is_retired(&self) -> bool {
        self.in_flight.is_retired()
    }

    /// Takes no new invocations from now on. It ends when its last invocation has left: at once if `at_once`, otherwise it may
    /// first finish what a guest still does after its answer, for as long as an invocation may take.
    pub fn retire(self: &Arc<Self>, at_once: bool) {
        self.in_flight.retire(at_once);
        self.end_if_left();
    }

    /// Bytes of linear memory it held at its last turn.
    pub fn memory_bytes(&self) -> u64 {
        self.in_flight.memory_bytes()
    }

    fn end_if_left(self: &Arc<Self>) {
        if !self.is_retired() || self.load() > 0 {
            return;
        }
        self.wakes.mark_serve_woken();
        if self.turn() != Turn::Over && !self.in_flight.ends_at_once() {
            let worker = self.clone();
            self.machinery.compute().spawn(async move {
                tokio::time::sleep(worker.in_flight.policy().timeout).await;
                worker.in_flight.retire(true);
                worker.wakes.mark_serve_woken();
                worker.turn();
            });
        }
    }

    /// Polls the event loop until it waits and no thread has asked for another poll. If another thread is polling it, that thread
    /// polls again.
    fn turn(&self) -> Turn {
        self.wakes.mark_woken();
        if guest_task::is_polling() {
            // One guest's turn must end before another one begins.
            self.wakes.wake_driver();
            return if self.computes() { Turn::Computes } else { Turn::Waits };
        }
        for _ in 0..TURNS_IN_A_ROW_MAX {
            if !self.wakes.is_woken() {
                break;
            }
            let Some(mut event_loop) = self.event_loop.try_lock() else { break };
            self.wakes.poll_begins();
            let turn = self.poll(&mut event_loop);
            self.wakes.poll_ends();
            drop(event_loop);
            if turn != Turn::Waits {
                // If it computes it has to be polled again, by its own task.
                self.wakes.wake_driver();
                return turn;
            }
        }
        if self.wakes.is_woken() && !self.wakes.is_polled() {
            self.wakes.wake_driver();
        }
        if self.computes.load(Ordering::Acquire) { Turn::Computes } else { Turn::Waits }
    }
}

impl AsyncWorker {
    fn poll(&self, event_loop: &mut Option<EventLoop>) -> Turn {
        let Some(running) = event_loop.as_mut() else { return Turn::Over };
        if self.in_flight.has_to_end() {
            self.in_flight.close();
            self.drop_event_loop(event_loop.take());
            return Turn::Over;
        }
        let turn = running.poll(&mut Context::from_waker(&self.waker), self.machinery.pulse());
        self.meter.counts.computed(turn.computed.time);
        let computes = turn.computed.through_tick;
        self.computes.store(computes, Ordering::Release);
        if let Poll::Ready(ended) = turn.result {
            *event_loop = None;
            if let Err(panic) = ended {
                self.in_flight.fail(None, &panic.fault());
                self.in_flight.close();
            }
            return Turn::Over;
        }
        if computes { Turn::Computes } else { Turn::Waits }
    }

    /// Drops it on the compute threads: a suspended guest may hold much memory, and freeing that takes an event loop too long.
    fn drop_event_loop(&self, ending: Option<EventLoop>) {
        self.memory.leave_instance();
        if self.memory_bytes() > limits::INLINE_DROP_BYTES_MAX {
            self.machinery.compute().spawn(async move { drop(ending) });
        }
    }
}

/// Polls a worker whenever it is woken: on `home`, or on the compute threads while its guest computes.
fn drive(worker: Arc<AsyncWorker>, home: Handle) {
    let compute = worker.machinery.compute().clone();
    let moves = worker.is_apart();
    let here = if moves { &compute } else { &home }.clone();
    here.spawn(async move {
        let ended = std::future::poll_fn(|context| {
            worker.wakes.register_driver(context.waker());
            if worker.is_apart() != moves {
                return Poll::Ready(false);
            }
            match worker.turn() {
                Turn::Over => Poll::Ready(true),
                Turn::Waits | Turn::Computes if worker.is_apart() != moves => Poll::Ready(false),
                Turn::Waits | Turn::Computes => Poll::Pending,
            }
        });
        if !ended.await {
            drive(worker, home);
        }
    });
}

impl AsyncCall {
    /// Lets the worker do all it can do now.
    pub fn turn(&self) {
        if !self.worker.is_apart() {
            self.worker.turn();
        }
    }

    /// Bytes of linear memory that the worker held at its last turn.
    pub fn memory_bytes(&self) -> u64 {
        self.worker.memory_bytes()
    }

    /// Retires the worker, because this invocation has to be ended.
    pub fn retire_worker(&self) {
        self.worker.retire(true);
    }
}

impl Drop for AsyncCall {
    fn drop(&mut self) {
        self.worker.in_flight.leave(self.invocation);
        self.worker.end_if_left();
    }
}

/// Runs a worker's store from its start to its end.
async fn run(
    mut store: Store<Guest>,
    service: Service,
    in_flight: Arc<InFlight>,
    serve_waker: Arc<ServeWaker>,
    compute: Handle,
) {
    let paged = written::of(store.data().limiter.memory());
    let served =
        store.run_concurrent(async |accessor| serve(accessor, &service, &in_flight, serve_waker).await);
    let served = written::counted(paged, Box::pin(served)).await;
    let failed = served.err().map(|error| {
        // The guest that was running is the one that trapped.
        let culprit = store.as_context_mut().async_call_stack().ok().and_then(Iterator::last);
        (culprit, sandbox::call_fault(&error, &mut store.data_mut().limiter, in_flight.policy()))
    });
    // Done before anybody is told: the next request of a caller must find room in the instance.
    store.data_mut().limiter.memory().leave_instance();
    if let Some((culprit, fault)) = failed {
        in_flight.fail(culprit, &fault);
    }
    in_flight.close();
    if store.data().limiter.memory().held_bytes() > limits::INLINE_DROP_BYTES_MAX {
        compute.spawn(async move { drop(store) });
    }
}

/// Runs the host's part of the event loop: begins new invocations, until the worker is to end and the guest is quiet.
async fn serve(
    accessor: &Accessor<Guest>,
    service: &Service,
    in_flight: &InFlight,
    serve_waker: Arc<ServeWaker>,
) {
    // Most invocations are alone. The one has its place here; only more need memory and wakers of their own.
    let mut one = std::pin::pin!(None);
    let mut more = FuturesUnordered::new();
    let waker = Waker::from(serve_waker.clone());
    std::future::poll_fn(|_| {
        let memory_bytes = accessor.with(|mut store| {
            sandbox::allow_turn(store.as_context_mut());
            store.get().limiter.memory().charged_bytes()
        });
        in_flight.turn_begins(memory_bytes);
        if !serve_waker.was_woken() {
            return Poll::Pending;
        }
        let context = &mut Context::from_waker(&waker);
        loop {
            let mut began = false;
            while let Some(job) = in_flight.next_call() {
                let call = call(accessor, service, in_flight, job);
                if one.is_none() {
                    one.set(Some(call));
                } else {
                    more.push(call);
                }
                began = true;
            }
            if one.as_mut().as_pin_mut().is_some_and(|call| call.poll(context).is_ready()) {
                one.set(None);
            }
            while let Poll::Ready(Some(())) = more.poll_next_unpin(context) {}
            if !began {
                break;
            }
        }
        if one.is_some() || !more.is_empty() || accessor.poll_no_interesting_tasks(context).is_pending() {
            return Poll::Pending;
        }
        let handles = accessor.with(|mut store| {
            let guest = store.get();
            guest.limiter.memory().served();
            guest.left_over().handles
        });
        if handles > limits::WORKER_HANDLES_KEPT_MAX {
            in_flight.retire(false);
        }
        if in_flight.is_retired() && in_flight.load() == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// One invocation, until the guest has answered.
async fn call(accessor: &Accessor<Guest>, service: &Service, in_flight: &InFlight, job: NewCall) {
    let NewCall { invocation, request, origin, deadline, answer, verdict } = job;
    let handle = service.wasi_http_handler().func_handle();
    let begun = accessor.with(|mut store| {
        let http = store.get().http();
        let authority = request.headers().get(HOST).and_then(|host| host.as_bytes().try_into().ok());
        let scheme = if is_secure(request.extensions()) { Scheme::HTTPS } else { Scheme::HTTP };
        let (mut request, _processed) = Request::from_http(http.hooks, *request);
        // As for 0.2 guests: a client's request has its authority in the header that guests do not get.
        request.scheme.get_or_insert(scheme);
        request.authority = request.authority.or(authority);
        let request = http.table.push(request)?;
        let call = handle.start_call_concurrent(store.as_context_mut(), (request,))?;
        store.get().runs(call.task(), invocation, origin);
        wasmtime::Result::Ok(call)
    });
    let call = match begun {
        Ok(call) => call,
        Err(error) => {
            let fault = accessor
                .with(|mut store| sandbox::call_fault(&error, &mut store.get().limiter, in_flight.policy()));
            // Fails if nobody waits any more.
            let _ = answer.send(WorkerAnswer::Failed(fault));
            return;
        }
    };
    in_flight.begun(invocation, call.task(), deadline, answer, verdict);
    // A trap ends the whole event loop. What remains here is an error that the guest itself returned.
    let Ok((result,)) = handle.finish_call_concurrent(accessor, call).await else { return };
    let response = match result {
        Ok(response) => accessor
            .with(|mut store| -> wasmtime::Result<_> {
                let response = store.get().http().table.delete(response)?;
                response.into_http(store, std::future::ready(Ok(())))
            })
            .map_err(|error| format!("{error:#}")),
        Err(ErrorCode::InternalError(Some(text))) => Err(text),
        Err(code) => Err(format!("{code:?}")),
    };
    in_flight.answer(invocation, response);
}
