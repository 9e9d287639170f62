//! What the host says of an app under load, and the tables of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use ureq::http::Method;
use wfn_runtime::names::AppName;

use crate::client::{Client, app_path};
use crate::cmd::bench::Run;
use crate::cmd::text_of;
use crate::failure::{Done, Failure, WhileDoing};
use crate::output;

/// An app that is called.
pub struct AppUnderTest<'a> {
    client: &'a Client,
    name: &'a AppName,
}

/// What the host had counted at one moment.
pub struct Look {
    now_ms: u64,
    group: Value,
    usage: Value,
}

/// What the host counted during a run.
#[derive(Debug, Clone, Default)]
pub struct Used {
    /// Invocations that ended, and of those the ones that failed.
    pub invocations: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that a bound refused.
    pub throttled: u64,
    /// Instances made because an invocation needed one.
    pub cold: u64,
    /// 99 of 100 cold starts since the host started took no longer, in microseconds.
    pub cold_start_p99_us: Option<f64>,
    /// How long invocations ran on average, in microseconds.
    pub ran_us: f64,
    /// How much processor time each used on average, in microseconds.
    pub cpu_us: f64,
    /// The most linear memory that a worker held at the end of an invocation, in bytes.
    pub memory_bytes: u64,
    /// The most instances.
    pub instances: u64,
    /// Instances second by second: milliseconds since 1970, and how many.
    pub instances_over_time: Vec<(u64, u64)>,
    /// Billed GB-seconds.
    pub gb_s: f64,
    /// What a million invocations like these cost.
    pub cost_per_million: Option<f64>,
    /// In which currency.
    pub currency: String,
}

impl<'a> AppUnderTest<'a> {
    /// An app of the host; an error if there is none.
    pub fn new(client: &'a Client, name: &'a AppName) -> Done<Self> {
        let app = Self { client, name };
        app.status()?;
        Ok(app)
    }

    fn status(&self) -> Done<Value> {
        self.client.get(&app_path(self.name, "")).while_doing(|| format!("look at {}", self.name))
    }

    /// Cores of the host.
    pub fn cores(&self) -> Done<u64> {
        Ok(self.client.get("/v1/host")?["cores"].as_u64().unwrap_or(1))
    }

    /// Whether one worker of it runs many invocations at a time.
    pub fn is_async(&self) -> Done<bool> {
        Ok(self.status()?["kind"] == "p3")
    }

    /// What the host has counted until now.
    pub fn look(&self) -> Done<Look> {
        let status = self.status()?;
        let group = status["groups"][0].clone();
        let usage = self.client.get(&app_path(self.name, "/usage"))?;
        let now_ms = usage["until_ms"].as_u64().unwrap_or_default();
        Ok(Look { now_ms, group, usage })
    }

    /// What the host has counted since `before`.
    pub fn used_since(&self, before: &Look) -> Done<Used> {
        let after = self.look()?;
        let count = |key: &str| -> u64 {
            let of = |look: &Look| look.group[key].as_u64().unwrap_or_default();
            of(&after).saturating_sub(of(before))
        };
        let total = |key: &str| -> f64 {
            let of = |look: &Look| look.usage["total"][key].as_f64().unwrap_or_default();
            of(&after) - of(before)
        };
        let invocations = count("invocations");
        let mean = |key: &str| if invocations == 0 { 0.0 } else { count(key) as f64 / invocations as f64 };
        let since = format!("since_ms={}", before.now_ms);
        let series = self.client.get(&app_path(self.name, &format!("/series?{since}")))?;
        let points = series["points"].as_array().cloned().unwrap_or_default();
        let of_http = points.iter().filter(|point| point["group"] == "http");
        let instances_over_time: Vec<_> = of_http
            .filter_map(|point| Some((point["time_ms"].as_u64()?, point["instances"].as_u64()?)))
            .collect();
        let calls = self.client.get(&app_path(self.name, &format!("/invocations?{since}")))?;
        let held = calls["invocations"].as_array().into_iter().flatten();
        let executions = total("executions");
        let now = after.group["instances"].as_u64().unwrap_or_default();
        Ok(Used {
            invocations,
            failed: count("failed"),
            throttled: count("throttled"),
            cold: count("cold"),
            cold_start_p99_us: after.group["cold_start_us"]["p99"].as_f64(),
            ran_us: mean("ran_us"),
            cpu_us: mean("cpu_us"),
            memory_bytes: held.filter_map(|call| call["memory_bytes"].as_u64()).max().unwrap_or_default(),
            instances: instances_over_time.iter().map(|(_, count)| *count).max().unwrap_or_default().max(now),
            instances_over_time,
            gb_s: total("gb_s"),
            cost_per_million: (executions > 0.0).then(|| total("cost") / executions * 1e6),
            currency: text_of(&after.usage["currency"]),
        })
    }

    /// Makes a revision with another concurrency serve.
    pub fn set_concurrency(&self, concurrency: u32) -> Done {
        let changes = json!({ "concurrency": concurrency });
        let path = app_path(self.name, "/scale");
        let changed = self.client.change(Method::PATCH, &path, &changes);
        changed.map(drop).while_doing(|| format!("set the concurrency of {} to {concurrency}", self.name))
    }

    /// Lets what serves now serve again when the guard is dropped, or when the user ends the run.
    pub fn temporary(&self, is_needed: bool) -> Done<Option<Temporary>> {
        if !is_needed {
            return Ok(None);
        }
        let revision = self.status()?["revision"].clone();
        let back = Back { client: self.client.clone(), name: self.name.clone(), revision };
        Temporary::new(back).map(Some)
    }
}

/// The way back to the revision that served before.
#[derive(Clone)]
struct Back {
    client: Client,
    name: AppName,
    revision: Value,
}

impl Back {
    fn go(&self) {
        let path = app_path(&self.name, "/rollback");
        let body = json!({ "revision": self.revision });
        if let Err(failure) = self.client.change(Method::POST, &path, &body) {
            let revision = text_of(&self.revision);
            output::say(&format!("revision {revision} of {} does not serve again: {failure}", self.name));
        }
    }
}

/// A change of the app that ends with it.
pub struct Temporary {
    back: Back,
    is_over: Arc<AtomicBool>,
}

impl Temporary {
    fn new(back: Back) -> Done<Self> {
        let is_over = Arc::<AtomicBool>::default();
        let (watched, way_back) = (is_over.clone(), back.clone());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
        // Ends with the process.
        std::thread::spawn(move || {
            if runtime.block_on(tokio::signal::ctrl_c()).is_ok() && !watched.swap(true, Ordering::AcqRel) {
                way_back.go();
            }
            std::process::exit(130);
        });
        Ok(Self { back, is_over })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_over.swap(true, Ordering::AcqRel) {
            self.back.go();
        }
    }
}

/// What the client saw, and below it what the host says.
pub fn tables(runs: &[Run]) -> String {
    let head = ["CONCURRENCY", "REQUESTS", "RPS", "P50", "P90", "P99", "P99.9", "MAX", "ERRORS"];
    let rows: Vec<_> = runs.iter().map(seen).collect();
    let mut text = output::table(&head, &rows);
    let used: Vec<_> = runs.iter().filter_map(|run| Some((run, run.used.as_ref()?))).collect();
    if let Some((_, first)) = used.first() {
        let million = format!("{} A MILLION", first.currency);
        let head = ["CONCURRENCY", "INSTANCES", "COLD", "THROTTLED", "CPU A CALL", "GB-S", &million];
        let rows: Vec<_> = used.iter().map(|(run, used)| told(run, used)).collect();
        text = text + "\n\n" + &output::table(&head, &rows);
    }
    for run in runs {
        for line in troubles(run) {
            text = text + "\n" + &line;
        }
    }
    text
}

/// The name of a run: its concurrency, if that was set.
pub fn name(run: &Run) -> String {
    run.concurrency.map_or("as it is".to_owned(), |concurrency| concurrency.to_string())
}

/// Answers that are no success, and requests without an answer.
pub fn errors(run: &Run) -> u64 {
    let report = &run.report;
    report.errors.total() + report.requests - report.of_class(2) - report.of_class(3)
}

/// The columns of what the client saw.
pub fn seen(run: &Run) -> Vec<String> {
    let (report, latency) = (&run.report, &run.report.latency);
    let took = |latency: std::time::Duration| output::microseconds(latency.as_micros() as u64);
    vec![
        name(run),
        report.requests.to_string(),
        format!("{:.0}", report.per_second),
        took(latency.p50),
        took(latency.p90),
        took(latency.p99),
        took(latency.p999),
        took(latency.max),
        errors(run).to_string(),
    ]
}

/// The columns of what the host says.
pub fn told(run: &Run, used: &Used) -> Vec<String> {
    vec![
        name(run),
        used.instances.to_string(),
        used.cold.to_string(),
        used.throttled.to_string(),
        output::microseconds(used.cpu_us as u64),
        format!("{:.1}", used.gb_s),
        used.cost_per_million.map_or("-".to_owned(), |cost| format!("{cost:.4}")),
    ]
}

/// What went wrong, a line for each kind.
fn troubles(run: &Run) -> Vec<String> {
    let (report, of) = (&run.report, name(run));
    let mut lines = Vec::new();
    let bad = report.statuses.iter().filter(|(status, _)| !(200..400).contains(*status));
    lines.extend(bad.map(|(status, count)| format!("{of}: {count} answered {status}")));
    lines.extend(report.outcomes.iter().map(|(outcome, count)| format!("{of}: {count} ended as {outcome}")));
    let errors = report.errors;
    let kinds = [
        (errors.connect, "could not connect"),
        (errors.timeout, "had no answer in time"),
        (errors.closed, "were cut off"),
        (errors.malformed, "were answered with something that is no HTTP/1.1"),
    ];
    lines.extend(
        kinds.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{of}: {count} {what}")),
    );
    if report.unsent > 0 && report.lag.as_millis() > 0 {
        let lag = output::microseconds(report.lag.as_micros() as u64);
        lines.push(format!("{of}: {} were due and not sent, the first {lag} before the end", report.unsent));
    }
    lines
}

/// A run as `--json` shows it.
pub fn json(run: &Run) -> Value {
    let report = &run.report;
    let us = |took: std::time::Duration| took.as_micros() as u64;
    json!({
        "concurrency": run.concurrency,
        "requests": report.requests,
        "seconds": report.duration.as_secs_f64(),
        "rps": report.per_second,
        "latency_us": {
            "p50": us(report.latency.p50), "p90": us(report.latency.p90), "p99": us(report.latency.p99),
            "p99.9": us(report.latency.p999), "max": us(report.latency.max), "mean": us(report.latency.mean),
        },
        "statuses": report.statuses,
        "outcomes": report.outcomes,
        "errors": {
            "connect": report.errors.connect, "timeout": report.errors.timeout,
            "closed": report.errors.closed, "malformed": report.errors.malformed,
        },
        "unsent": report.unsent,
        "bytes": report.bytes,
        "client_cpu_seconds": report.cpu.map(|cpu| cpu.as_secs_f64()),
        "host": run.used.as_ref().map(|used| json!({
            "invocations": used.invocations,
            "failed": used.failed,
            "throttled": used.throttled,
            "cold": used.cold,
            "instances": used.instances,
            "instances_over_time": used.instances_over_time,
            "ran_us": used.ran_us,
            "cpu_us": used.cpu_us,
            "memory_bytes": used.memory_bytes,
            "gb_s": used.gb_s,
            "currency": used.currency,
            "cost_per_million": used.cost_per_million,
        })),
    })
}
