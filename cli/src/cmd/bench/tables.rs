//! What runs have shown, as tables and as JSON: what the client saw, and what the host says.

use serde_json::{Value, json};

use crate::cmd::bench::Run;
use crate::cmd::bench::measured::Used;
use crate::output;

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
