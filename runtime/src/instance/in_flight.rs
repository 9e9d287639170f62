//! Keeps the invocations of one asynchronous worker: which wait to begin, which run, and whose computing delays the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use wasmtime::component::GuestTaskId;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::instance::kept_body::{AnswerBody, KeptBody};
use crate::instance::verdict::Verdict;
use crate::invocation::{Fault, InvocationId, Outcome};
use crate::limits;
use crate::manifest::ScalePolicy;
use crate::meter::output::GuestOutput;
use crate::request::{GuestRequest, Origin};

/// What becomes of an invocation in an asynchronous worker.
pub enum WorkerAnswer {
    /// The guest's head; its body may still be under way.
    Head(http::Response<AnswerBody>),
    /// It failed.
    Failed(Fault),
    /// The worker ended before the invocation began. Returns the request.
    NotBegun(GuestRequest),
}

/// The parts of one new invocation.
pub struct NewCall {
    /// Its id.
    pub invocation: InvocationId,
    /// The request as the guest sees it.
    pub request: GuestRequest,
    /// Where the request came from.
    pub origin: Origin,
    /// Its deadline.
    pub deadline: Instant,
    /// Where the answer goes.
    pub answer: oneshot::Sender<WorkerAnswer>,
    /// How it failed, for the reader of the answer's body.
    pub verdict: Arc<Verdict>,
}

/// The invocations of one worker, shared by its event loop and its callers.
pub struct InFlight {
    jobs: Mutex<Jobs>,
    running: Mutex<Vec<RunningCall>>,
    load: AtomicU32,
    uses: AtomicU32,
    memory_bytes: AtomicU64,
    most_bytes: u64,
    retired: AtomicBool,
    at_once: AtomicBool,
    turns: AtomicU64,
    stretch: Mutex<Stretch>,
    output: GuestOutput,
    policy: ScalePolicy,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<NewCall>,
    closed: bool,
}

/// An invocation that the guest has begun, until its caller leaves.
struct RunningCall {
    invocation: InvocationId,
    task: GuestTaskId,
    deadline: Instant,
    /// Taken when it is answered.
    answer: Option<oneshot::Sender<WorkerAnswer>>,
    /// The body of its answer, from then on.
    body: Option<Arc<KeptBody>>,
    verdict: Arc<Verdict>,
}

/// Time in which a task computes without a turn of the event loop.
struct Stretch {
    turn: u64,
    since: Instant,
    reported: bool,
}

impl InFlight {
    /// Makes the state of a worker that held `start_bytes` of memory when it was new, one of `workers` in its instance.
    pub fn new(output: GuestOutput, policy: ScalePolicy, start_bytes: u64, workers: u32) -> Self {
        let share_bytes = policy.memory.bytes() / u64::from(workers);
        Self {
            jobs: Mutex::default(),
            running: Mutex::default(),
            load: AtomicU32::new(0),
            uses: AtomicU32::new(0),
            memory_bytes: AtomicU64::new(start_bytes),
            most_bytes: share_bytes.max(start_bytes * 2),
            retired: AtomicBool::new(false),
            at_once: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            stretch: Mutex::new(Stretch { turn: 0, since: Instant::now(), reported: false }),
            output,
            policy,
        }
    }

    /// Returns the scale settings of the worker.
    pub fn policy(&self) -> &ScalePolicy {
        &self.policy
    }

    /// Returns the number of invocations that have joined and not left.
    pub fn load(&self) -> u32 {
        self.load.load(Ordering::Acquire)
    }

    /// Bytes of linear memory at the last turn.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Adds an invocation. If the worker has ended meanwhile, the request is handed back at once.
    pub fn join(&self, job: NewCall) {
        self.load.fetch_add(1, Ordering::AcqRel);
        self.uses.fetch_add(1, Ordering::Relaxed);
        let mut jobs = self.jobs.lock();
        if jobs.closed {
            drop(jobs);
            hand_back(job);
        } else {
            jobs.waiting.push_back(job);
        }
    }

    /// Returns the invocation that has waited longest to begin.
    pub fn next_call(&self) -> Option<NewCall> {
        self.jobs.lock().waiting.pop_front()
    }

    /// Notes that the guest runs an invocation, as `task`.
    pub fn begun(
        &self,
        invocation: InvocationId,
        task: GuestTaskId,
        deadline: Instant,
        answer: oneshot::Sender<WorkerAnswer>,
        verdict: Arc<Verdict>,
    ) {
        let mut running = self.running.lock();
        running.push(RunningCall { invocation, task, deadline, answer: Some(answer), body: None, verdict });
        self.mark_output(&running);
    }

    /// Passes on the guest's answer, or why there is none.
    pub fn answer(
        &self,
        invocation: InvocationId,
        response: Result<http::Response<HyperOutgoingBody>, String>,
    ) {
        let mut running = self.running.lock();
        let waits = running.iter_mut().find(|running| running.invocation == invocation);
        if let Some(waits) = waits
            && let Some(sender) = waits.answer.take()
        {
            let answer = match response {
                Ok(head) => WorkerAnswer::Head(
                    head.map(|body| AnswerBody::Kept(waits.body.insert(KeptBody::new(body)).clone())),
                ),
                Err(said) => WorkerAnswer::Failed(Fault::answered_with_error(&said)),
            };
            // Fails if nobody waits any more.
            let _ = sender.send(answer);
        }
    }

    /// Removes an invocation whose caller has the whole answer, or gives up.
    pub fn leave(&self, invocation: InvocationId) {
        {
            let mut running = self.running.lock();
            running.retain(|running| running.invocation != invocation);
            self.mark_output(&running);
        }
        self.output.end(invocation);
        self.load.fetch_sub(1, Ordering::AcqRel);
        if self.uses.load(Ordering::Relaxed) >= limits::WORKER_USES_MAX
            || self.memory_bytes() > self.most_bytes
        {
            self.retire(false);
        }
    }

    /// Marks the host's own log lines with the invocation while it is the only one. For lines of guests the writer is known
    /// ([`crate::instance::guest::stdio`]).
    fn mark_output(&self, running: &[RunningCall]) {
        match running {
            [only] => self.output.begin(only.invocation),
            _ => self.output.begin_unknown(),
        }
    }

    /// Takes no new invocations from now on; see [`crate::instance::worker_p3::AsyncWorker::retire`].
    pub fn retire(&self, at_once: bool) {
        self.at_once.fetch_or(at_once, Ordering::AcqRel);
        self.retired.store(true, Ordering::Release);
    }

    /// Whether it takes no new invocations.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Whether it ends without waiting for what guests still do after their answers.
    pub fn ends_at_once(&self) -> bool {
        self.at_once.load(Ordering::Acquire)
    }

    /// Whether it must be dropped now, whatever guests are doing.
    pub fn has_to_end(&self) -> bool {
        self.is_retired() && self.ends_at_once() && self.load() == 0
    }

    /// Ends the worker: requests that have not begun are handed back, now and later.
    pub fn close(&self) {
        self.retired.store(true, Ordering::Release);
        let waiting = {
            let mut jobs = self.jobs.lock();
            jobs.closed = true;
            std::mem::take(&mut jobs.waiting)
        };
        waiting.into_iter().for_each(hand_back);
    }

    /// Notes that the store is about to be lost: `culprit` because of `fault`, the other invocations because they shared it. An
    /// answer that is complete is kept.
    pub fn fail(&self, culprit: Option<GuestTaskId>, fault: &Fault) {
        self.retired.store(true, Ordering::Release);
        let running = std::mem::take(&mut *self.running.lock());
        let mut found = false;
        for lost in running {
            if lost.body.as_ref().is_some_and(|body| body.settle()) {
                continue;
            }
            let is_culprit = culprit == Some(lost.task) || fault.outcome == Outcome::HostFailed;
            found |= is_culprit;
            let fault = if is_culprit { fault.clone() } else { Fault::plain(lost_by(&fault.outcome)) };
            lost.verdict.set(fault.clone());
            if let Some(sender) = lost.answer {
                // Fails if nobody waits any more.
                let _ = sender.send(WorkerAnswer::Failed(fault));
            }
        }
        if !found {
            // Work of an earlier invocation after its answer.
            let text = format!("after its answer, {}: {}", fault.outcome.code(), fault.detail);
            self.output.host_log(None, &text);
        }
    }

    /// Notes a turn of the event loop: nobody delays the others now. Only the thread that polls the event loop calls it, about
    /// eight times for each request; an atomic addition would cost more than all the rest of it.
    pub fn turn_begins(&self, memory_bytes: u64) {
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.memory_bytes.store(memory_bytes, Ordering::Relaxed);
    }

    /// Whether `task`, which has computed for at least a tick, has to end. If it delays others for too long, that is logged once
    /// per stretch of computing (SPEC 2.11).
    pub fn is_overdue(&self, task: Option<GuestTaskId>, now: Instant) -> bool {
        let turn = self.turns.load(Ordering::Relaxed);
        let mut stretch = self.stretch.lock();
        if stretch.turn != turn {
            *stretch = Stretch { turn, since: now, reported: false };
        }
        let running = self.running.lock();
        let computing = running.iter().find(|running| Some(running.task) == task);
        let others = self.load().saturating_sub(1);
        if !stretch.reported && others > 0 && now - stretch.since >= limits::COMPUTE_STRETCH_REPORTED {
            stretch.reported = true;
            let text = format!(
                "computes for {} ms without yielding: {others} other invocations in its worker wait for it; yield \
                 in between, or give the app more workers or less concurrency",
                limits::COMPUTE_STRETCH_REPORTED.as_millis()
            );
            self.output.host_log(computing.map(|running| running.invocation), &text);
        }
        // Work after the answer has no deadline of its own.
        let deadline = computing.map_or(stretch.since + self.policy.timeout, |running| running.deadline);
        now >= deadline
    }
}

fn hand_back(job: NewCall) {
    // Fails if nobody waits any more.
    let _ = job.answer.send(WorkerAnswer::NotBegun(job.request));
}

fn lost_by(outcome: &Outcome) -> Outcome {
    Outcome::WorkerLost(match outcome {
        Outcome::TimedOut(_) => "another invocation in it computed past its deadline",
        Outcome::MemoryLimit(_) => "another invocation in it ran out of memory",
        _ => "another invocation in it trapped",
    })
}
