//! Runs one invocation in its slot, from the call of the guest to the end of the response body.
//!
//! Most guests answer within the first poll, inline on the event loop: then the whole answer is there and
//! becomes a body of known length. Otherwise the call becomes a task of its own ([`drive`]) under the
//! deadline, moves to the compute threads if it computes, and the response streams. Calls of a guest that is known
//! to compute ([`crate::pool::placement`]) begin there, when it is their turn ([`queued`]), and so do those that need a worker
//! whose start computes. Guests that share a worker go another way ([`run_shared`]).

mod queued;
pub mod record;
pub mod response;
pub mod shared;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http_body::Body;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::event_loop::is_compute;
use crate::instance::call::{Call, Head};
use crate::instance::guest_task::{self, GuestTask, GuestTurn};
use crate::instance::verdict::Verdict;
use crate::invocation::{Fault, Outcome};
use crate::limits;
use crate::pool::run_queue::RunPermit;
use crate::pool::slot::Slot;
use crate::request::Invocation;
use crate::run::record::{InvocationRecord, RequestInfo};
use crate::run::response::{ClientEnd, EndedCall, ResponseBody};
use crate::run::shared::run_shared;

/// Runs `invocation` in `slot` and answers as soon as the guest does. The outcome is counted, and failures
/// are logged, exactly once, whichever way it ends. Dropping the future cancels the invocation.
pub async fn run(slot: Slot, invocation: Invocation) -> Result<http::Response<ResponseBody>, Outcome> {
    if slot.pool().template().is_shared() {
        // On the heap, so that the future of all other invocations stays small: a future is moved more than once.
        return Box::pin(run_shared(slot, invocation)).await;
    }
    let bodiless = invocation.request.method() == http::Method::HEAD;
    let is_large = slot.worker.as_deref().is_some_and(|worker| worker.memory().is_large());
    let record = InvocationRecord::new(&slot, RequestInfo::new(&invocation));
    let (head_sender, mut head) = oneshot::channel();
    let starts = slot.worker.is_none() && !slot.pool().template().starts_in_place();
    if slot.pool().placement().computes() || is_large || starts {
        let compute = slot.pool().resources().machinery().compute().clone();
        let begin = |client: ClientSide| queued::begin(slot, record, invocation, head_sender, client);
        // On the heap, as above.
        return Box::pin(go_on(begin, head, bodiless, compute)).await;
    }
    let mut running = RunningCall::new(slot, record, invocation, head_sender, None);
    let begun = poll_fn(|context| Poll::Ready(running.poll(context))).await;
    let here = match begun {
        CallPoll::EndedCall(ended) => return conclude(ended, running.record, head.try_recv().ok(), bodiless),
        CallPoll::Lost(fault) => {
            running.record.end(Some(&fault));
            return Err(fault.outcome);
        }
        CallPoll::Waits => Handle::current(),
        CallPoll::Computes => running.record.pool().resources().machinery().compute().clone(),
    };
    Box::pin(go_on(|client| drive(running, client), head, bodiless, here)).await
}

/// What a call that runs in a task of its own has of its caller.
struct ClientSide {
    /// For a call that has ended before anything was streamed.
    early: oneshot::Sender<(EndedCall, InvocationRecord)>,
    /// How it failed, for the reader of the body.
    verdict: Arc<Verdict>,
    /// How the client ends; closed when it has gone.
    end: oneshot::Receiver<ClientEnd>,
}

/// Finishes an invocation that did not answer at once: spawns what `run` makes on `here`, and waits for the answer.
async fn go_on(
    run: impl FnOnce(ClientSide) -> Pin<Box<dyn Future<Output = ()> + Send>>,
    mut head: oneshot::Receiver<Head>,
    bodiless: bool,
    here: Handle,
) -> Result<http::Response<ResponseBody>, Outcome> {
    let verdict = Arc::<Verdict>::default();
    let (client, end) = oneshot::channel();
    let (early, mut has_ended) = oneshot::channel();
    here.spawn(run(ClientSide { early, verdict: verdict.clone(), end }));
    let first = tokio::select! {
        biased;
        // Most guests that wait still answer and return in one step: then there is nothing to stream.
        ended = &mut has_ended => Err(ended),
        head_set = &mut head => Ok(head_set),
    };
    let (ended, head) = match first {
        Err(ended) => (ended.ok(), head.try_recv().ok()),
        Ok(Ok(head)) => {
            // From here on the answer is streamed when the call ends, unless the call has just ended.
            has_ended.close();
            match has_ended.try_recv() {
                Err(_) => return response::streamed(head, bodiless, verdict, client),
                Ok(ended) => (Some(ended), Some(head)),
            }
        }
        // The guest gave up its right to answer. How it ends still matters.
        Ok(Err(_)) => (has_ended.await.ok(), None),
    };
    match ended {
        Some((ended, record)) => conclude(ended, record, head, bodiless),
        None => Err(verdict.get().map_or(Outcome::Cancelled, |fault| fault.outcome.clone())),
    }
}

/// Makes the answer of a guest that has returned, or failed, before anything was sent.
fn conclude(
    ended: EndedCall,
    mut record: InvocationRecord,
    head: Option<Head>,
    bodiless: bool,
) -> Result<http::Response<ResponseBody>, Outcome> {
    let answer = response::whole(ended, head, bodiless);
    if let Ok(answer) = &answer {
        record.answers(answer.status(), answer.body().size_hint().exact().unwrap_or_default());
    }
    record.end(answer.as_ref().err());
    answer.map_err(|fault| fault.outcome)
}

/// A call in progress; owns slot and worker. Dropping it drops the worker and gives the slot back.
struct RunningCall {
    call: GuestTask<EndedCall>,
    deadline: Instant,
    record: InvocationRecord,
    /// Its place among those that run on the compute threads, once it does.
    permit: Option<RunPermit<Slot>>,
    is_new: bool,
}

enum CallPoll {
    EndedCall(EndedCall),
    /// The host failed; slot and worker are gone.
    Lost(Fault),
    Waits,
    Computes,
}

impl RunningCall {
    fn new(
        slot: Slot,
        record: InvocationRecord,
        invocation: Invocation,
        head: oneshot::Sender<Head>,
        permit: Option<RunPermit<Slot>>,
    ) -> Self {
        let Invocation { id, request, origin, .. } = invocation;
        let deadline = record.deadline();
        let is_large = slot.worker.as_deref().is_some_and(|worker| worker.memory().is_large());
        let mut call = GuestTask::new(call(slot, Call { invocation: id, request, origin, deadline, head }));
        if is_large {
            call.may_not_stop();
        }
        Self { call, deadline, record, permit, is_new: true }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> CallPoll {
        if let Some(permit) = &mut self.permit {
            permit.runs();
        }
        let GuestTurn { result, computed } =
            self.call.poll(context, self.record.pool().resources().machinery().pulse());
        self.record.computed(computed.time);
        if computed.through_tick && self.permit.is_none() {
            self.permit = Some(self.record.pool().run_queue().begun());
        }
        if let Some(permit) = &mut self.permit {
            permit.ran(computed.time, !computed.through_tick);
        }
        if std::mem::take(&mut self.is_new) {
            // On the compute threads a guest may go on for several ticks.
            let was_long = is_compute() && computed.time >= limits::EPOCH_TICK;
            self.record.pool().placement().note(computed.through_tick || was_long);
        }
        match result {
            Poll::Ready(Ok(ended)) => {
                let held = ended.worker.as_ref().map(|worker| worker.memory().held_bytes());
                self.record.begun(ended.slot.timing(), held);
                CallPoll::EndedCall(ended)
            }
            Poll::Ready(Err(panic)) => CallPoll::Lost(panic.fault()),
            Poll::Pending if computed.through_tick => CallPoll::Computes,
            Poll::Pending => CallPoll::Waits,
        }
    }
}

/// Gets the slot's worker and calls the guest.
async fn call(mut slot: Slot, call: Call) -> EndedCall {
    let is_new = slot.worker.is_none();
    let mut worker = match slot.worker(call.deadline).await {
        Ok(worker) => worker,
        Err(error) => return EndedCall { slot, worker: None, result: Err(error), head: Some(call.head) },
    };
    if is_new && worker.memory().is_large() {
        guest_task::goes_on_apart().await;
    }
    let policy = *slot.pool().policy();
    let result = worker.handle(call, &policy).await;
    EndedCall { slot, worker: Some(worker), result, head: None }
}

/// Polls a call that did not answer at once to its end, until its deadline. If nothing is streamed by then, the ended call goes
/// to `early`; otherwise the slot is kept until the response body has ended, too.
fn drive(mut running: RunningCall, client: ClientSide) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let ClientSide { early, verdict, end: mut client } = client;
        let compute = running.record.pool().resources().machinery().compute().clone();
        let on_compute = Handle::current().id() == compute.id();
        let deadline = tokio::time::sleep_until(running.deadline.into());
        tokio::pin!(deadline);
        let mut body_ended = false;
        let fault = loop {
            let call = poll_fn(|context| match running.poll(context) {
                CallPoll::EndedCall(ended) => Poll::Ready(Some(Ok(ended))),
                CallPoll::Lost(fault) => Poll::Ready(Some(Err(fault))),
                CallPoll::Computes if !on_compute => Poll::Ready(None),
                CallPoll::Computes | CallPoll::Waits => Poll::Pending,
            });
            tokio::select! {
                biased;
                ended = call => match ended {
                    Some(Err(fault)) => break Some(fault),
                    Some(Ok(mut ended)) => {
                        ended.lends_worker();
                        let Err((ended, record)) = early.send((ended, running.record)) else { return };
                        let client = (!body_ended).then_some(client);
                        return finish(ended, record, verdict, client, deadline).await;
                    }
                    None => {
                        compute.spawn(drive(running, ClientSide { early, verdict, end: client }));
                        return;
                    }
                },
                end = &mut client, if !body_ended => match end {
                    // The guest may continue after its answer is sent.
                    Ok(ClientEnd::Whole(status, bytes)) => {
                        running.record.answers(status, bytes);
                        body_ended = true;
                    }
                    Ok(ClientEnd::Refused(fault)) => break Some(fault),
                    Err(_) => break None,
                },
                () = &mut deadline => {
                    break Some(Fault::timed_out(running.record.pool().policy().timeout, "while waiting"));
                }
            }
        };
        let RunningCall { call, mut record, permit, .. } = running;
        if let Some(fault) = fault {
            record.end(Some(&fault));
            // Set before the call is dropped, because the reader of the body must find it.
            verdict.set(fault);
        }
        drop(record);
        drop(permit);
        // Like a worker that is retired: a suspended guest may hold much memory. The caller gets its answer when that is free,
        // because its next request must find room in the instance.
        compute.spawn(async move {
            drop(call);
            drop(early);
        });
    })
}

/// Ends a call whose guest has returned or failed: keeps the slot until the body is sent, then gives the worker back.
async fn finish(
    ended: EndedCall,
    mut record: InvocationRecord,
    verdict: Arc<Verdict>,
    client: Option<oneshot::Receiver<ClientEnd>>,
    deadline: Pin<&mut tokio::time::Sleep>,
) {
    let EndedCall { slot, worker, result, head: _head } = ended;
    if let Err(fault) = result {
        // If the guest failed because it could not write to a client that has gone, the invocation was cancelled.
        let has_gone =
            client.is_some_and(|mut client| matches!(client.try_recv(), Err(TryRecvError::Closed)));
        if !has_gone {
            record.end(Some(&fault));
        }
        // Set before the worker is dropped, because the reader of the body must find it.
        verdict.set(fault);
        if let Some(worker) = worker {
            slot.retire(worker);
        }
        return;
    }
    // Kept until the body is sent.
    let _slot = slot.keep_if_reusable(worker);
    let Some(client) = client else { return record.end(None) };
    tokio::select! {
        biased;
        end = client => match end {
            Ok(ClientEnd::Whole(status, bytes)) => {
                record.answers(status, bytes);
                record.end(None);
            }
            Ok(ClientEnd::Refused(fault)) => record.end(Some(&fault)),
            Err(_) => {}
        },
        () = deadline => {
            let timeout = record.pool().policy().timeout;
            let fault = Fault::timed_out(timeout, "while the client was reading the response");
            record.end(Some(&fault));
            verdict.set(fault);
        }
    }
}
