//! Follows traces through the host: which request led to which work, here and elsewhere, as in OpenTelemetry (SPEC 6.2).
//!
//! A [`context::TraceContext`] comes with a request, or begins with it, and goes out with each request of the guest, and so does
//! the `tracestate` of other tracers ([`state`]). If it is sampled, each piece of work becomes a [`span::Span`], which the
//! exporter sends to a collector by OTLP. Without a collector, the context that came with a request is passed on unchanged.

pub mod cause;
pub mod context;
#[cfg_attr(not(feature = "otlp"), path = "trace/no_exporter.rs")]
pub mod exporter;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod span;
pub mod state;

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::invocation::random_bits;
use crate::manifest::grants::StoreName;
use crate::meter::invocation_log::Record;
use crate::meter::redactor::Redactor;
use crate::meter::sampling;
use crate::names::AppName;
use crate::trace::cause::Cause;
use crate::trace::context::{TRACEPARENT, TraceContext, TraceSampler, Traced};
use crate::trace::exporter::Exporter;
use crate::trace::span::{Kind, Span};
use crate::trace::state::TRACESTATE;
use crate::{clock, limits};

/// Follows traces through the host.
pub struct Tracer {
    sampler: TraceSampler,
    /// Chooses which traces begin here, if no share is set.
    few: Option<sampling::Sampler>,
    exporter: Option<Exporter>,
}

/// A request of a guest that is under way.
pub struct Leaving {
    context: TraceContext,
    parent: [u8; 8],
    method: Method,
    host: String,
    begin_unix_ns: u64,
}

impl Default for Tracer {
    fn default() -> Self {
        Self { sampler: TraceSampler::new(1.0), few: None, exporter: None }
    }
}

impl Tracer {
    /// Sends by `exporter` this `share` of the traces that begin here, or else about [`limits::TRACES_PER_SECOND`], and those
    /// that callers record.
    pub fn new(exporter: Exporter, share: Option<f64>) -> Self {
        let few = share.is_none().then(|| sampling::Sampler::new(limits::TRACES_PER_SECOND));
        Self { sampler: TraceSampler::new(share.unwrap_or(1.0)), few, exporter: Some(exporter) }
    }

    /// Called when a request comes to a guest: reads its place in a trace, and tells it to the guest in the headers.
    pub fn arrived(&self, headers: &mut HeaderMap) -> Option<Traced> {
        let given = headers.get(TRACEPARENT).and_then(|header| TraceContext::parse(header.to_str().ok()?));
        if given.is_some() {
            state::bound(headers);
        }
        if !self.exports() {
            return given.map(|context| Traced { context, parent: None, is_own: false });
        }
        let begins = || self.few.as_ref().is_none_or(|few| few.takes(random_bits(), clock::now_ms));
        if given.is_none() && !begins() {
            return None;
        }
        let context = self.sampler.context(given, random_bits);
        // Telling everybody of a trace that nobody records would cost each request more than finding that out.
        if given.is_none() && !context.sampled {
            return None;
        }
        if given.is_none() {
            // It is of no trace that could be read.
            headers.remove(TRACESTATE);
        }
        headers.insert(TRACEPARENT, header(context));
        Some(Traced { context, parent: given.map(|given| given.span_id), is_own: true })
    }

    /// Called when a request leaves a guest for `host`. `from` is the place of its invocation, `state` its `tracestate`. If the
    /// guest has set its own place in the headers, that is used.
    pub fn leaves(
        &self,
        from: Option<TraceContext>,
        state: Option<HeaderValue>,
        method: &Method,
        host: impl FnOnce() -> String,
        headers: &mut HeaderMap,
    ) -> Option<Leaving> {
        let from = from.filter(|_| !headers.contains_key(TRACEPARENT))?;
        match state {
            Some(state) => headers.insert(TRACESTATE, state),
            None => headers.remove(TRACESTATE),
        };
        if !self.exports() {
            headers.insert(TRACEPARENT, header(from));
            return None;
        }
        let context = from.child(random_bits);
        headers.insert(TRACEPARENT, header(context));
        context.sampled.then(|| Leaving {
            context,
            parent: from.span_id,
            method: method.clone(),
            host: host(),
            begin_unix_ns: clock::now_ns(),
        })
    }

    /// Notes the end of a request that left a guest, answered or not.
    pub fn came_back(&self, leaving: Leaving, status: Option<StatusCode>) {
        let Leaving { context, parent, method, host, begin_unix_ns } = leaving;
        let mut span = Span::new(context, Some(parent), method.as_str(), Kind::Client, begin_unix_ns);
        span.attribute("http.request.method", method.as_str());
        span.attribute("server.address", host.as_str());
        match status {
            Some(status) => {
                span.attribute("http.response.status_code", i64::from(status.as_u16()));
                if status.is_client_error() || status.is_server_error() {
                    span.fail("");
                }
            }
            None => span.fail("no answer"),
        }
        span.end(clock::now_ns());
        self.export(span);
    }

    /// Notes the end of an invocation of `app`. `cause` is what called, if it was no client. The span is made only if it is
    /// sampled.
    pub fn ended(
        &self,
        traced: Traced,
        cause: Option<&Cause>,
        app: &AppName,
        redactor: &Redactor,
        record: impl FnOnce() -> Record,
    ) {
        if !(traced.is_own && traced.context.sampled) {
            return;
        }
        let record = record();
        let cause = cause.map(|cause| cause.redacted(redactor));
        let end = clock::now_ns();
        let nanoseconds = |us: u64| us.saturating_mul(1_000);
        let got_slot = end.saturating_sub(nanoseconds(record.ran_us));
        let begin = got_slot.saturating_sub(nanoseconds(record.waited_us.into()));
        let mut span = begun(traced, cause.as_ref(), app, &record, begin);
        if let Some(status) = record.status {
            span.attribute("http.response.status_code", i64::from(status));
        }
        span.attribute("faas.name", app.as_str());
        span.attribute("faas.invocation_id", record.invocation.to_string().as_str());
        span.attribute("faas.coldstart", record.cold);
        span.attribute("wfn.group", record.group.as_str());
        span.attribute("wfn.outcome", record.outcome);
        if let (Some(revision), Some(instance)) = (record.revision, record.instance) {
            span.attribute("wfn.revision", i64::from(revision.0));
            span.attribute("wfn.instance", i64::try_from(instance).unwrap_or(i64::MAX));
        }
        if let Some(cpu_us) = record.cpu_us {
            span.attribute("wfn.cpu_us", i64::try_from(cpu_us).unwrap_or(i64::MAX));
        }
        if let Some(detail) = &record.detail {
            span.fail(detail);
        }
        span.end(end);
        self.export(span);
        let started = nanoseconds(record.started_us.unwrap_or_default().into());
        for (name, from, took) in
            [("wait for a slot", begin, got_slot - begin), ("start a worker", got_slot, started)]
        {
            if took > 0 {
                let context = traced.context.child(random_bits);
                let mut part = Span::new(context, Some(traced.context.span_id), name, Kind::Internal, from);
                part.end(from.saturating_add(took));
                self.export(part);
            }
        }
    }

    /// Sends what waits, for at most `patience`.
    pub async fn flush(&self, patience: Duration) {
        if let Some(exporter) = &self.exporter {
            exporter.flush((clock::now() + patience).into()).await;
        }
    }

    /// Tells the time. Must be called once a second.
    pub fn passed(&self, now_ms: u64) {
        if let Some(few) = &self.few {
            few.passed(now_ms);
        }
    }

    /// Returns the number of spans that did not reach the collector, or that it refused, since the start; 0 without one.
    pub fn dropped(&self) -> u64 {
        self.exporter.as_ref().map_or(0, Exporter::dropped)
    }

    /// Whether there is a collector.
    fn exports(&self) -> bool {
        self.exporter.is_some()
    }

    fn export(&self, span: Span) {
        if let Some(exporter) = &self.exporter {
            exporter.export(span);
        }
    }
}

/// The span of an invocation, with what depends on who calls: OpenTelemetry has conventions for clients of HTTP and for
/// messages.
fn begun(traced: Traced, cause: Option<&Cause>, app: &AppName, record: &Record, begin_unix_ns: u64) -> Span {
    let new = |kind, name: &str| Span::new(traced.context, traced.parent, name, kind, begin_unix_ns);
    let consumer = |from: &StoreName| {
        let mut span = new(Kind::Consumer, &format!("process {from}"));
        span.attribute("messaging.system", "wfn");
        span.attribute("messaging.destination.name", from.as_str());
        span.attribute("messaging.operation.name", "process");
        span.attribute("messaging.operation.type", "process");
        span
    };
    match cause {
        None => {
            let mut span = new(Kind::Server, &format!("{} {app}", record.method));
            span.attribute("http.request.method", record.method.as_str());
            span.attribute("url.path", record.path.as_str());
            span
        }
        Some(Cause::Message { from, id }) => {
            let mut span = consumer(from);
            span.attribute("messaging.message.id", id.as_str());
            span
        }
        Some(Cause::Batch { from, messages }) => {
            let mut span = consumer(from);
            span.attribute("messaging.batch.message_count", i64::try_from(*messages).unwrap_or(i64::MAX));
            span
        }
        Some(Cause::Timer) => new(Kind::Internal, &format!("timer of {app}")),
    }
}

fn header(context: TraceContext) -> HeaderValue {
    // Digits and hyphens.
    HeaderValue::from_bytes(&context.header()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
