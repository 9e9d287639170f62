//! The one door: an invocation becomes a slot in the pool of the active revision, or of the second one of a
//! split, and its outcome an answer. Every trigger comes through here.

pub mod caller;
pub mod neighbours;

use http::Response;

use crate::app::running::{App, Group};
use crate::dispatch::caller::Caller;
use crate::invocation::{InvocationId, Outcome, Throttle};
use crate::meter::recent::Record;
use crate::pool::NotTaken;
use crate::refusal::Refusal;
use crate::request::{GuestRequest, Origin};
use crate::run::response::ResponseBody;
use crate::run::run;
use crate::run::tally::Asked;

/// Runs the `request` of `caller` in what serves of `app` and gives back the guest's answer or the host's own.
/// Dropping the future cancels the invocation.
pub async fn dispatch(
    app: &App,
    caller: Caller<'_>,
    mut request: GuestRequest,
    invocation: InvocationId,
) -> Result<Response<ResponseBody>, Refusal> {
    let group = caller.group();
    caller.mark(request.headers_mut());
    let mut asked = Asked::new(&request, invocation);
    let slot = loop {
        let Some(pool) = app.next_pool_of(group) else {
            return Err(Refusal::new(
                http::StatusCode::NOT_FOUND,
                "no-route",
                "the app has no such function",
            ));
        };
        match pool.take().await {
            Ok(slot) => break slot,
            // Another revision took over between the two lines above; it serves by now.
            Err(NotTaken::Draining) => {}
            Err(NotTaken::Throttled(throttle)) => {
                return Err(refuse(app, group, throttle, &asked));
            }
        }
        if app.is_removed() {
            return Err(Refusal::new(http::StatusCode::NOT_FOUND, "no-route", "the app was removed"));
        }
    };
    let tracer = slot.pool().template().capabilities().host().tracer();
    if let Some(traced) = tracer.arrived(request.headers_mut()) {
        request.extensions_mut().get_or_insert_default::<Origin>().trace = Some(traced.context);
        asked.traced = Some(traced);
    }
    // On the heap: the future of a request is moved from hand to hand, all of it each time.
    Box::pin(run(slot, request, asked)).await.map_err(|outcome| Refusal::from(&outcome))
}

/// Counts an invocation that a bound refused, and says so.
fn refuse(app: &App, group: Group<'_>, throttle: Throttle, asked: &Asked) -> Refusal {
    let (outcome, group) = (Outcome::Throttled(throttle), group.to_string());
    let meter = app.meter();
    let number = meter.group(&group).counts.refused(throttle);
    meter.recent.offer(false, number, || Record {
        status: Some(outcome.status().as_u16()),
        ..asked.record(&group, outcome.code(), app.active_pool().template().capabilities().redactor())
    });
    Refusal::from(&outcome)
}
