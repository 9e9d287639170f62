//! `scale`: from no clients to a thousand at once, as in the published test of the cloud: what is served, how fast the
//! throughput rises, how many instances that takes, and what it would cost.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use crate::load::{Load, Measured};
use crate::report::Report;
use crate::stats::median;
use crate::table::{Table, decimal, grouped};
use crate::wfn::Host;
use crate::workspace::Workspace;

/// The name of the app.
const APP: &str = "scale";
/// Memory class of an instance, in GB.
const CLASS_GB: f64 = 2.0;
/// Published prices of the cloud's plan on demand, in US dollars.
const GB_SECOND: f64 = 0.000_026;
const MILLION_EXECUTIONS: f64 = 0.40;
/// How often the state of the host is read.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);
/// Length of the window in which a throughput is measured.
const WINDOW: Duration = Duration::from_millis(100);
/// A throughput that is at least this share of the plateau has reached it.
const PLATEAU_SHARE: f64 = 0.95;

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct Scale {
    /// Guests of target/guests/; the parsers get the page of 73 KB
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values = ["html-parse", "async-hello", "hello"])]
    guests: Vec<String>,
    /// Concurrency of an instance, one measurement each; 1 gets a maximum of 1,000 instances
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values_t = [16, 8, 4, 1])]
    concurrency: Vec<u32>,
    /// Clients, each with one request at a time
    #[arg(long, default_value_t = 1_000)]
    clients: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..))]
    seconds: u64,
}

/// The state of the host at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    instances: u64,
    in_flight: u64,
    invocations: u64,
}

/// One measurement.
#[derive(Debug)]
struct Shown {
    guest: String,
    concurrency: u32,
    load: Measured,
    instances_peak: u64,
    throttled: u64,
    curve: Curve,
}

/// What the samples show.
#[derive(Debug, Default, PartialEq)]
struct Curve {
    /// From the first request until the throughput was that of the plateau, in milliseconds.
    plateau_ms: Option<f64>,
    /// From the first request until the most instances existed, in milliseconds.
    instances_ms: f64,
    /// Instances at the end of each of the first two tenths of a second.
    instances: Vec<u64>,
    /// Sum of the time that all instances existed, in seconds.
    instance_seconds: f64,
}

impl Scale {
    /// Runs the bench.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let mut report = Report::begin("scale");
        let mut table = Table::new([
            "guest, concurrency",
            "RPS",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "p99.9 ms",
            "failed",
            "429",
            "instances",
            "all there after ms",
            "plateau after ms",
            "GB-s",
            "$ per million",
        ]);
        let mut all = Vec::new();
        for guest in &self.guests {
            for &concurrency in &self.concurrency {
                let shown = self.show(workspace, guest, concurrency)?;
                let gb_seconds = shown.curve.instance_seconds * CLASS_GB;
                let requests = shown.load.requests.max(1) as f64;
                let per_million = gb_seconds * GB_SECOND / requests * 1e6 + MILLION_EXECUTIONS;
                let load = shown.load;
                table.row([
                    format!("{guest}, {concurrency}"),
                    grouped(load.requests_per_second),
                    decimal(Some(load.p50_ms)),
                    decimal(Some(load.p90_ms)),
                    decimal(Some(load.p99_ms)),
                    decimal(Some(load.p999_ms)),
                    load.errors().saturating_sub(shown.throttled).to_string(),
                    shown.throttled.to_string(),
                    shown.instances_peak.to_string(),
                    format!("{:.0}", shown.curve.instances_ms),
                    shown.curve.plateau_ms.map_or("-".to_owned(), |ms| format!("{ms:.0}")),
                    grouped(gb_seconds),
                    format!("{per_million:.2}"),
                ]);
                all.push(shown.figures());
            }
        }
        report.note(format!(
            "{} clients, {} s from an app without instances; times from the first request, the throughput over {} ms; \
             GB-s of all instances while they existed, at the cloud's prices on demand",
            self.clients,
            self.seconds,
            WINDOW.as_millis()
        ));
        report.end(workspace, &table, json!({ "clients": self.clients, "measurements": all }))
    }

    fn show(&self, workspace: &Workspace, guest: &str, concurrency: u32) -> Result<Shown> {
        let host = Host::start_for(workspace, 1_001)?;
        let page: Option<PathBuf> = guest.ends_with("html-parse").then(|| workspace.page());
        let load = Load::new(workspace, self.clients, page.as_deref())?;
        let most = if concurrency == 1 { 1_000 } else { 100 };
        let (concurrency_text, most_text) = (concurrency.to_string(), most.to_string());
        let flags = ["--concurrency", &concurrency_text, "--max-instances", &most_text];
        host.deploy(&workspace.guest(guest)?, APP, &flags)?;
        let url = format!("http://{}/{APP}/", host.functions());
        let done = AtomicBool::new(false);
        let (measured, samples) = thread::scope(|scope| {
            let sampling = scope.spawn(|| sample(&host, &done));
            let measured = load.run(&url, self.seconds);
            done.store(true, Ordering::Release);
            let samples = sampling.join().map_err(|_| anyhow!("the sampler panicked"))?;
            Ok::<_, anyhow::Error>((measured?, samples?))
        })?;
        let group = host.group(APP)?;
        let number = |name: &str| group[name].as_u64().with_context(|| format!("the status has no {name}"));
        let instances_peak = number("instances_peak")?;
        anyhow::ensure!(
            instances_peak <= most,
            "{instances_peak} instances: more than the maximum of {most}"
        );
        let throttled = number("throttled")?;
        host.stop()?;
        let curve = Curve::of(&samples);
        eprintln!("{guest}, concurrency {concurrency}: {}, {curve:?}", grouped(measured.requests_per_second));
        Ok(Shown { guest: guest.to_owned(), concurrency, load: measured, instances_peak, throttled, curve })
    }
}

/// Reads the state of the host until `done`.
fn sample(host: &Host, done: &AtomicBool) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut admin = host.admin()?;
    while !done.load(Ordering::Acquire) {
        let status = admin.get(&format!("/v1/apps/{APP}"))?;
        let group = &status["groups"][0];
        let number = |name: &str| group[name].as_u64().with_context(|| format!("the status has no {name}"));
        samples.push(Sample {
            at: Instant::now(),
            instances: number("instances")?,
            in_flight: number("in_flight")?,
            invocations: number("invocations")?,
        });
        thread::sleep(SAMPLE_EVERY);
    }
    Ok(samples)
}

impl Curve {
    fn of(samples: &[Sample]) -> Self {
        let quiet = |sample: &&Sample| sample.in_flight == 0 && sample.invocations == 0;
        let first = samples.iter().take_while(quiet).count().saturating_sub(1);
        let samples = samples.get(first..).unwrap_or_default();
        let Some(begun) = samples.first() else { return Self::default() };
        let since = |sample: &Sample| (sample.at - begun.at).as_secs_f64() * 1e3;
        let speeds: Vec<(f64, f64)> = samples
            .iter()
            .filter_map(|sample| {
                let before = samples
                    .iter()
                    .rfind(|before| sample.at.saturating_duration_since(before.at) >= WINDOW)?;
                let took = (sample.at - before.at).as_secs_f64();
                Some((since(sample), (sample.invocations - before.invocations) as f64 / took))
            })
            .collect();
        let later: Vec<f64> = speeds[speeds.len() / 2..].iter().map(|(_, speed)| *speed).collect();
        let plateau = median(&later);
        let reached = speeds.iter().find(|(_, speed)| *speed >= plateau * PLATEAU_SHARE);
        let most = samples.iter().map(|sample| sample.instances).max().unwrap_or_default();
        let all_there = samples.iter().find(|sample| sample.instances == most);
        let steps = (1..=20).map(|step| {
            let end = f64::from(step) * 100.0;
            samples.iter().rfind(|sample| since(sample) <= end).map_or(0, |sample| sample.instances)
        });
        Self {
            plateau_ms: reached.map(|(at, _)| *at),
            instances_ms: all_there.map_or(0.0, since),
            instances: steps.collect(),
            instance_seconds: samples
                .windows(2)
                .map(|pair| (pair[1].at - pair[0].at).as_secs_f64() * pair[1].instances as f64)
                .sum(),
        }
    }
}

impl Shown {
    fn figures(&self) -> Value {
        json!({
            "guest": self.guest,
            "concurrency": self.concurrency,
            "requests": self.load.requests,
            "requests_per_second": self.load.requests_per_second,
            "p50_ms": self.load.p50_ms,
            "p90_ms": self.load.p90_ms,
            "p99_ms": self.load.p99_ms,
            "p999_ms": self.load.p999_ms,
            "errors": self.load.errors(),
            "throttled": self.throttled,
            "instances_peak": self.instances_peak,
            "instances_per_100_ms": self.curve.instances,
            "instances_after_ms": self.curve.instances_ms,
            "plateau_after_ms": self.curve.plateau_ms,
            "instance_seconds": self.curve.instance_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_begins_with_the_first_request_and_knows_its_plateau() {
        let start = Instant::now();
        // Nothing for 50 ms, then half of the plateau for 100 ms, then 1,000 requests a second.
        let samples: Vec<Sample> = (0..=200u64)
            .map(|tick| {
                let ms = tick * 10;
                let invocations = ms.saturating_sub(50).min(100) / 2 + ms.saturating_sub(150);
                let instances = if ms <= 50 {
                    0
                } else if ms <= 100 {
                    3
                } else {
                    7
                };
                Sample { at: start + Duration::from_millis(ms), instances, in_flight: 0, invocations }
            })
            .collect();
        let curve = Curve::of(&samples);
        // At most a twentieth of the window may be in the slow part.
        assert_eq!(curve.plateau_ms.map(f64::round), Some(190.0));
        assert_eq!((curve.instances_ms.round(), curve.instances[0], curve.instances[1]), (60.0, 7, 7));
        assert!((curve.instance_seconds - (0.05 * 3.0 + 1.9 * 7.0)).abs() < 0.001, "{curve:?}");
        assert_eq!(Curve::of(&[]), Curve::default());
    }
}
