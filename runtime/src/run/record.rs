//! Counts, records and logs each invocation exactly once, however it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use http_body::Body;

use crate::invocation::{BodyVerdict, Fault, InvocationId, Outcome};
use crate::meter::invocation_log::Record;
use crate::meter::redactor::Redactor;
use crate::pool::Pool;
use crate::pool::slot::{Slot, Timing};
use crate::request::Invocation;
use crate::trace::cause::Cause;
use crate::trace::context::Traced;
use crate::{clock, limits};

/// The record of one invocation while it runs. If it is dropped before its end, the invocation was cancelled.
pub struct InvocationRecord {
    pool: Arc<Pool>,
    request: RequestInfo,
    begun: Instant,
    deadline: Instant,
    instance: usize,
    timing: Timing,
    /// Whether [`Self::timing`] is complete.
    has_begun: bool,
    cpu: Option<Duration>,
    memory_bytes: Option<u64>,
    answer: Option<(StatusCode, u64)>,
    counted: bool,
}

/// What is known of a request.
pub struct RequestInfo {
    /// Its id.
    pub invocation: InvocationId,
    method: Method,
    path: Option<PathAndQuery>,
    request_bytes: Option<u64>,
    /// What called, if it is no client.
    cause: Option<Cause>,
    /// Its place in a trace.
    traced: Option<Traced>,
    /// Whether the request's body failed, if that is read while it arrives.
    body: Option<Arc<BodyVerdict>>,
}

impl RequestInfo {
    /// Notes what is known of `invocation`.
    pub fn new(invocation: &Invocation) -> Self {
        let request = &invocation.request;
        Self {
            invocation: invocation.id,
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            request_bytes: request.body().size_hint().exact(),
            cause: invocation.cause().cloned(),
            traced: invocation.traced,
            body: invocation.body.clone(),
        }
    }

    /// Returns the fault of the request's body, if that failed and the function could therefore not go on. The function is not to
    /// blame then.
    fn blame_of_body(&self, fault: &Fault) -> Option<Fault> {
        let error = self.body.as_ref()?.get()?;
        let outcome = Outcome::BadBody(error);
        fault.outcome.may_follow_from_body().then(|| Fault { outcome, detail: fault.detail.clone() })
    }

    /// Makes a record from what is known before it runs. `redactor` removes secrets.
    pub fn record(&self, group: &str, outcome: &'static str, redactor: &Redactor) -> Record {
        let path = redactor.redact(self.path.as_ref().map_or("/", PathAndQuery::path).to_owned());
        Record {
            sequence: 0,
            invocation: self.invocation,
            time_ms: clock::now_ms(),
            group: group.to_owned(),
            revision: None,
            instance: None,
            cold: false,
            waited_us: 0,
            started_us: None,
            ran_us: 0,
            cpu_us: None,
            memory_bytes: None,
            request_bytes: self.request_bytes,
            response_bytes: None,
            method: self.method.clone(),
            path: cut(&path, limits::RECORD_PATH_BYTES_MAX),
            status: None,
            outcome,
            sample_rate: 1,
            detail: None,
        }
    }
}

impl InvocationRecord {
    /// Starts the record of an invocation that has got its slot.
    pub fn new(slot: &Slot, request: RequestInfo) -> Self {
        let begun = Instant::now();
        Self {
            pool: slot.pool().clone(),
            request,
            begun,
            deadline: begun + slot.pool().policy().timeout,
            instance: slot.number(),
            timing: slot.timing(),
            has_begun: false,
            cpu: None,
            memory_bytes: None,
            answer: None,
            counted: false,
        }
    }

    /// Returns the pool in which it runs.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Returns its deadline.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Notes that it begins only now, in `slot`. Its timeout runs from now on.
    pub fn begins(&mut self, slot: &Slot) {
        self.begun = Instant::now();
        self.deadline = self.begun + self.pool.policy().timeout;
        (self.instance, self.timing) = (slot.number(), slot.timing());
    }

    /// Adds processor time that the guest used for it, in a worker of its own.
    pub fn computed(&mut self, cpu: Duration) {
        *self.cpu.get_or_insert_default() += cpu;
    }

    /// Notes that it had a worker, which holds `memory_bytes` now.
    pub fn begun(&mut self, timing: Timing, memory_bytes: Option<u64>) {
        (self.timing, self.memory_bytes, self.has_begun) = (timing, memory_bytes, true);
    }

    /// Notes the status of its answer and the bytes of the body.
    pub fn answers(&mut self, status: StatusCode, bytes: u64) {
        self.answer = Some((status, bytes));
    }

    /// Notes that it has ended, by `fault` if there is one.
    pub fn end(&mut self, fault: Option<&Fault>) {
        let Some(fault) = fault else { return self.count(&Outcome::Answered, None) };
        let blamed = self.request.blame_of_body(fault);
        let fault = blamed.as_ref().unwrap_or(fault);
        self.count(&fault.outcome, Some(&fault.detail));
        if fault.outcome.is_failure() {
            let text = format!("{}: {}", fault.outcome.code(), fault.detail);
            self.pool.template().host_log(Some(self.request.invocation), &text);
        }
    }

    fn count(&mut self, outcome: &Outcome, detail: Option<&str>) {
        self.counted = true;
        let counts = &self.pool.meter().counts;
        if let Some(cpu) = self.cpu {
            counts.computed(cpu);
        }
        let ran = self.begun.elapsed();
        let number = match outcome {
            Outcome::Throttled(throttle) => counts.refused(*throttle),
            _ => counts.ended(outcome, ran),
        };
        if let Some(traced) = self.request.traced {
            let capabilities = self.pool.template().capabilities();
            let tracer = capabilities.host().tracer();
            let cause = self.request.cause.as_ref();
            let (app, redactor) = (capabilities.app(), capabilities.redactor());
            tracer.ended(traced, cause, app, redactor, || self.record(outcome, ran, detail));
        }
        self.pool
            .app()
            .invocation_log
            .offer(outcome.is_failure(), number, || self.record(outcome, ran, detail));
    }

    fn record(&self, outcome: &Outcome, ran: Duration, detail: Option<&str>) -> Record {
        let redactor = self.pool.template().capabilities().redactor();
        let sent = self.answer.map(|(status, _)| status);
        let own = outcome.is_failure().then(|| outcome.status());
        Record {
            revision: Some(self.pool.template().revision()),
            instance: Some(self.instance),
            cold: self.timing.cold,
            waited_us: self.timing.waited_us,
            started_us: self.has_begun.then_some(self.timing.started_us),
            ran_us: microseconds(ran),
            cpu_us: self.cpu.map(microseconds),
            memory_bytes: self.memory_bytes,
            response_bytes: self.answer.map(|(_, bytes)| bytes),
            status: sent.or(own).map(|status| status.as_u16()),
            detail: detail
                .filter(|_| outcome.is_failure())
                .map(|detail| cut(&redactor.redact(detail.to_owned()), limits::RECORD_DETAIL_BYTES_MAX)),
            ..self.request.record(self.pool.group(), outcome.code(), redactor)
        }
    }
}

impl Drop for InvocationRecord {
    fn drop(&mut self) {
        if !self.counted {
            self.count(&Outcome::Cancelled, None);
        }
    }
}

fn microseconds(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the first `most` bytes of a text, or a little less, so that no character is cut.
fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}
