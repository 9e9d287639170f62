//! Runs an [`Invocation`]: takes a slot in the pool of the active revision, or of the second revision of a split, and turns the
//! outcome into an answer. Every invocation, also of triggers, comes through here.

pub mod neighbours;

use http::{Response, StatusCode};

use crate::app::running::App;
use crate::invocation::{Outcome, Throttle};
use crate::meter::invocation_log::Record;
use crate::pool::NotTaken;
use crate::refusal::Refusal;
use crate::request::Invocation;
use crate::run::record::RequestInfo;
use crate::run::response::ResponseBody;
use crate::run::run;

/// Why an invocation has no answer of a guest.
#[derive(Debug, Clone)]
pub enum NotRun {
    /// The app has no function of this name.
    NoFunction,
    /// The app was removed.
    Removed,
    /// A limit or quota refused it before it had a slot.
    Throttled(Throttle),
    /// It had a slot, and ended with this outcome.
    Ended(Outcome),
}

impl NotRun {
    /// Whether a limit of the host refused it before the guest saw it.
    pub fn is_throttled(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Ended(Outcome::Throttled(_)))
    }
}

impl From<NotRun> for Refusal {
    fn from(why: NotRun) -> Self {
        let nobody = |message| Self::new(StatusCode::NOT_FOUND, "no-route", message);
        match why {
            NotRun::NoFunction => nobody("the app has no such function"),
            NotRun::Removed => nobody("the app was removed"),
            NotRun::Throttled(throttle) => Self::from(&Outcome::Throttled(throttle)),
            NotRun::Ended(outcome) => Self::from(&outcome),
        }
    }
}

/// Runs `invocation` in a serving revision of `app` and returns the guest's answer. Dropping the future cancels it.
pub async fn dispatch(app: &App, mut invocation: Invocation) -> Result<Response<ResponseBody>, NotRun> {
    let slot = loop {
        let Some(pool) = app.next_pool_of(invocation.group()) else { return Err(NotRun::NoFunction) };
        match pool.take().await {
            Ok(slot) => break slot,
            // Another revision took over between the two lines above; it serves already.
            Err(NotTaken::Draining) => {}
            Err(NotTaken::Throttled(throttle)) => return Err(refuse(app, throttle, &invocation)),
        }
        if app.is_removed() {
            return Err(NotRun::Removed);
        }
    };
    let tracer = slot.pool().template().capabilities().host().tracer();
    if let Some(traced) = tracer.arrived(invocation.request.headers_mut()) {
        invocation.set_traced(traced);
    }
    // On the heap: the future of a request is moved several times, with all that it holds.
    Box::pin(run(slot, invocation)).await.map_err(NotRun::Ended)
}

/// Counts and logs an invocation that a limit refused.
fn refuse(app: &App, throttle: Throttle, invocation: &Invocation) -> NotRun {
    let (outcome, group) = (Outcome::Throttled(throttle), invocation.group().to_string());
    let meter = app.meter();
    let number = meter.group(&group).counts.refused(throttle);
    let redactor = app.active_pool();
    let redactor = redactor.template().capabilities().redactor();
    meter.invocation_log.offer(false, number, || Record {
        status: Some(outcome.status().as_u16()),
        ..RequestInfo::new(invocation).record(&group, outcome.code(), redactor)
    });
    NotRun::Throttled(throttle)
}
