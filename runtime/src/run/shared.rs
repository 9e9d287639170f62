//! Runs one invocation in its slot of an instance with asynchronous workers, from the call of the guest to the end
//! of the response body.

use std::time::Instant;

use tokio::sync::oneshot::error::TryRecvError;

use crate::instance::in_flight::WorkerAnswer;
use crate::instance::kept_body::AnswerBody;
use crate::instance::worker_p3::AsyncCall;
use crate::invocation::{Fault, Outcome};
use crate::pool::slot::Slot;
use crate::request::Invocation;
use crate::run::record::{InvocationRecord, RequestInfo};
use crate::run::response::{self, ClientEnd, Collected, ResponseBody};

/// Runs `invocation` in `slot` and answers as soon as the guest does. Counted and logged exactly once. Dropping the
/// future cancels the invocation for the caller; the guest cannot be told, so the slot is kept until it answers
/// or its time is over.
pub async fn run_shared(
    mut slot: Slot,
    invocation: Invocation,
) -> Result<http::Response<ResponseBody>, Outcome> {
    let mut record = InvocationRecord::new(&slot, RequestInfo::new(&invocation));
    let Invocation { id, mut request, origin, .. } = invocation;
    let bodiless = request.method() == http::Method::HEAD;
    let deadline = record.deadline();
    let failed = |record: &mut InvocationRecord, fault: Fault| {
        record.end(Some(&fault));
        fault.outcome
    };
    loop {
        // A worker is nearly always there, and then no timer is made.
        let started = tokio::time::timeout_at(deadline.into(), slot.shared_worker(deadline)).await;
        let timeout = record.pool().policy().timeout;
        let worker = match started.unwrap_or_else(|_| Err(Fault::timed_out(timeout, "while it started"))) {
            Ok(worker) => worker,
            Err(fault) => return Err(failed(&mut record, fault)),
        };
        let call = worker.call(request, origin.clone(), id, deadline);
        let mut waiting = WaitingCall { place: Some((slot, call)), deadline };
        let answer = waiting.answer().await;
        let Some((kept, call)) = waiting.place.take() else { return Err(Outcome::Cancelled) };
        slot = kept;
        record.begun(slot.timing(), Some(call.memory_bytes()));
        match answer {
            Some(WorkerAnswer::Head(head)) => {
                return answered(head, bodiless, slot, call, record, deadline).map_err(|fault| fault.outcome);
            }
            Some(WorkerAnswer::Failed(fault)) => return Err(failed(&mut record, fault)),
            // The worker ended before the guest saw the request: another worker takes it.
            Some(WorkerAnswer::NotBegun(again)) => request = again,
            None => {
                call.retire_worker();
                let fault = Fault::timed_out(timeout, "before the function answered");
                return Err(failed(&mut record, fault));
            }
        }
    }
}

/// An invocation that waits for its answer. If it is dropped, it keeps its slot until the guest is done with it.
struct WaitingCall {
    place: Option<(Slot, AsyncCall)>,
    deadline: Instant,
}

impl WaitingCall {
    /// Returns the answer; `None` if the deadline passes.
    async fn answer(&mut self) -> Option<WorkerAnswer> {
        let (_, call) = self.place.as_mut()?;
        let answer = match call.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Closed) => None,
            Err(TryRecvError::Empty) => {
                tokio::time::timeout_at(self.deadline.into(), &mut call.answer).await.ok()?.ok()
            }
        };
        let lost = || Fault::plain(Outcome::WorkerLost("the worker was dropped"));
        let fault = || call.verdict.get().cloned().unwrap_or_else(lost);
        Some(answer.unwrap_or_else(|| WorkerAnswer::Failed(fault())))
    }
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        if let (Some(place), Ok(here)) = (self.place.take(), tokio::runtime::Handle::try_current()) {
            let mut rest = WaitingCall { place: Some(place), deadline: self.deadline };
            here.spawn(async move {
                let answer = rest.answer().await;
                if let (Some((_slot, call)), None) = (rest.place.take(), answer) {
                    call.retire_worker();
                }
            });
        }
    }
}

/// Handles the guest's head: sends the whole answer if that is complete, otherwise streams it.
fn answered(
    head: http::Response<AnswerBody>,
    bodiless: bool,
    slot: Slot,
    call: AsyncCall,
    mut record: InvocationRecord,
    deadline: Instant,
) -> Result<http::Response<ResponseBody>, Fault> {
    let collected = response::checked(head).and_then(|head| {
        let mut collecting = Collected::new(head, bodiless);
        if !collecting.is_complete(&call.verdict)? {
            // Reading what was there may have made room for the rest.
            call.turn();
            collecting.is_complete(&call.verdict)?;
        }
        Ok(collecting)
    });
    let collected = match collected {
        Ok(collected) => collected,
        Err(fault) => {
            record.end(Some(&fault));
            return Err(fault);
        }
    };
    if collected.ended {
        let (status, bytes) = collected.size();
        record.answers(status, bytes);
        record.end(None);
        return Ok(collected.into_whole(slot));
    }
    let (client, client_end) = tokio::sync::oneshot::channel();
    let streamed = collected.into_streamed(call.verdict.clone(), client);
    tokio::spawn(attend(slot, call, record, client_end, deadline));
    Ok(streamed)
}

/// Keeps the slot until the body is sent, or the deadline has passed.
async fn attend(
    slot: Slot,
    call: AsyncCall,
    mut record: InvocationRecord,
    client_end: tokio::sync::oneshot::Receiver<ClientEnd>,
    deadline: Instant,
) {
    match tokio::time::timeout_at(deadline.into(), client_end).await {
        Ok(Ok(ClientEnd::Whole(status, bytes))) => {
            record.answers(status, bytes);
            record.end(None);
        }
        Ok(Ok(ClientEnd::Refused(fault))) => record.end(Some(&fault)),
        // The body was cut, or the client went away.
        Ok(Err(_)) => {
            if let Some(fault) = call.verdict.get() {
                record.end(Some(fault));
            }
        }
        Err(_) => {
            let fault = Fault::timed_out(record.pool().policy().timeout, "while the response was streaming");
            record.end(Some(&fault));
            call.verdict.set(fault);
            call.retire_worker();
        }
    }
    // The place in the worker is freed first, so that the next invocation finds room there.
    drop(call);
    drop(slot);
}
