//! Lets an invocation of a guest that computes begin when it is its turn.

use std::pin::Pin;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::instance::call::Head;
use crate::invocation::{Fault, Outcome, Throttle};
use crate::limits;
use crate::pool::slot::Slot;
use crate::request::Invocation;
use crate::run::record::InvocationRecord;
use crate::run::{ClientSide, RunningCall, drive};

/// Joins the run queue of the pool of `slot`. Returns what waits there, on the compute threads, and then runs the call to its end.
pub(super) fn begin(
    slot: Slot,
    mut record: InvocationRecord,
    invocation: Invocation,
    head: oneshot::Sender<Head>,
    mut client: ClientSide,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let (waited_before, joined) = (slot.timing().waited(), Instant::now());
    let is_warm = slot.worker.is_some();
    let longest = limits::WAIT_MAX.saturating_sub(waited_before);
    let pool = record.pool().clone();
    // Joins here and now: until a compute thread comes to it, others may need the worker of its slot.
    let place = pool.run_queue().join(slot, is_warm);
    Box::pin(async move {
        let admitted = tokio::select! {
            biased;
            // The client has gone: dropping the record counts that.
            _ = &mut client.end => return,
            admitted = tokio::time::timeout(longest, place) => admitted.ok().flatten(),
        };
        let waited = joined.elapsed();
        pool.meter().counts.waited(waited);
        let Some(mut admitted) = admitted else {
            let fault = Fault::plain(Outcome::Throttled(Throttle::Cores));
            record.end(Some(&fault));
            return client.verdict.set(fault);
        };
        admitted.slot.begins_after(waited_before + waited);
        record.begins(&admitted.slot);
        let running = RunningCall::new(admitted.slot, record, invocation, head, Some(admitted.permit));
        drive(running, client).await;
    })
}
