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
use crate::peers::Peer;
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
/// Columns of the table.
const COLUMNS: usize = 15;
/// How often the state of the host is read.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);
/// Length of the window in which a throughput is measured.
const WINDOW: Duration = Duration::from_millis(100);
/// A throughput that is at least this share of the plateau has reached it.
const PLATEAU_SHARE: f64 = 0.95;
/// How long a client waits for an answer, in seconds: a thousand share what two cores compute.
const PATIENCE_SECONDS: u64 = 60;
/// How long one client calls alone, in seconds, to see what an invocation computes.
const ALONE_SECONDS: u64 = 4;

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
    /// Other servers that get the same load after each measurement, where they run the guest
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',')]
    beside: Vec<Peer>,
}

/// The state of the host at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    instances: u64,
    in_flight: u64,
    invocations: u64,
    resident_bytes: u64,
}

/// One measurement.
#[derive(Debug)]
struct Shown {
    guest: String,
    concurrency: u32,
    load: Measured,
    instances_peak: u64,
    throttled: u64,
    /// Requests a second that the cores could serve if all their time were spent as for one client.
    possible: f64,
    curve: Curve,
    beside: Vec<(Peer, Measured)>,
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
    /// Most memory of the host in RAM.
    resident_bytes: u64,
}

impl Scale {
    /// Runs the bench.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let mut report = Report::begin("scale");
        let mut table = Table::new([
            "guest, concurrency",
            "RPS",
            "of the cores",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "p99.9 ms",
            "failed",
            "429",
            "instances",
            "all there after ms",
            "plateau after ms",
            "RSS MB",
            "GB-s",
            "$ per million",
        ]);
        let mut all = Vec::new();
        for guest in &self.guests {
            let possible = self.possible(workspace, guest)?;
            for &concurrency in &self.concurrency {
                let shown = self.show(workspace, guest, concurrency, possible)?;
                let gb_seconds = shown.curve.instance_seconds * CLASS_GB;
                let requests = shown.load.requests.max(1) as f64;
                let per_million = gb_seconds * GB_SECOND / requests * 1e6 + MILLION_EXECUTIONS;
                let load = shown.load;
                let name = format!("{guest}, {concurrency}");
                let failed = load.errors().saturating_sub(shown.throttled);
                table.row(cells(
                    name,
                    &load,
                    possible,
                    failed,
                    &[
                        shown.throttled.to_string(),
                        shown.instances_peak.to_string(),
                        format!("{:.0}", shown.curve.instances_ms),
                        shown.curve.plateau_ms.map_or("-".to_owned(), |ms| format!("{ms:.0}")),
                        format!("{:.0}", shown.curve.resident_bytes as f64 / 1e6),
                        grouped(gb_seconds),
                        format!("{per_million:.2}"),
                    ],
                ));
                for (peer, load) in &shown.beside {
                    table.row(cells(peer.title().to_owned(), load, possible, load.errors(), &[]));
                }
                all.push(shown.figures());
            }
        }
        report.note(
            "'of the cores': requests a second against what all cores could serve if each took the CPU time that one client alone \
             costs"
                .to_owned(),
        );
        report.note(format!(
            "{} clients, {} s from an app without instances; times from the first request, the throughput over {} ms; \
             GB-s of all instances while they existed, at the cloud's prices on demand",
            self.clients,
            self.seconds,
            WINDOW.as_millis()
        ));
        report.end(workspace, &table, json!({ "clients": self.clients, "measurements": all }))
    }

    /// The load of `clients` for `guest`.
    fn load(workspace: &Workspace, guest: &str, clients: u32) -> Result<Load> {
        let page: Option<PathBuf> = guest.ends_with("html-parse").then(|| workspace.page());
        Ok(Load::new(workspace, clients, page.as_deref())?.patient(PATIENCE_SECONDS))
    }

    /// Requests a second that all cores could serve if each cost what one client alone costs.
    fn possible(&self, workspace: &Workspace, guest: &str) -> Result<f64> {
        let host = Host::start(workspace)?;
        host.deploy(&workspace.guest(guest)?, APP, &[])?;
        let url = format!("http://{}/{APP}/", host.functions());
        let load = Self::load(workspace, guest, 1)?;
        load.run(&url, 1)?;
        let before = host.server().cpu_time()?;
        let measured = load.run(&url, ALONE_SECONDS)?;
        let each = (host.server().cpu_time()? - before).as_secs_f64() / measured.requests.max(1) as f64;
        host.stop()?;
        eprintln!("{guest}: one client alone costs {:.3} ms of CPU a request", each * 1e3);
        Ok(thread::available_parallelism().map_or(1, usize::from) as f64 / each)
    }

    /// Puts the same load on other servers.
    fn beside(&self, workspace: &Workspace, guest: &str) -> Result<Vec<(Peer, Measured)>> {
        let mut measured = Vec::new();
        for &peer in self.beside.iter().filter(|peer| peer.is_for(guest) && peer.runs_guests()) {
            if let Some(remedy) = peer.missing(workspace)? {
                anyhow::bail!("{} is not installed: {remedy}", peer.title());
            }
            let serving = peer.start(workspace, &workspace.guest(guest)?)?;
            let url = format!("http://{}{}", serving.address(), serving.path());
            let load = Self::load(workspace, guest, self.clients)?.run(&url, self.seconds)?;
            serving.stop()?;
            eprintln!("{}: {}, {} failed", peer.title(), grouped(load.requests_per_second), load.errors());
            measured.push((peer, load));
        }
        Ok(measured)
    }

    fn show(&self, workspace: &Workspace, guest: &str, concurrency: u32, possible: f64) -> Result<Shown> {
        let host = Host::start_for(workspace, 1_001)?;
        let load = Self::load(workspace, guest, self.clients)?;
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
        Ok(Shown {
            guest: guest.to_owned(),
            concurrency,
            load: measured,
            instances_peak,
            throttled,
            possible,
            curve,
            beside: self.beside(workspace, guest)?,
        })
    }
}

/// The cells of a row: what the load measured, then `more`, which other servers than wfn lack.
fn cells(name: String, load: &Measured, possible: f64, failed: u64, more: &[String]) -> [String; COLUMNS] {
    let rps = load.requests_per_second;
    let figures = [rps / possible, load.p50_ms, load.p90_ms, load.p99_ms, load.p999_ms];
    let mut all = vec![name, grouped(rps)];
    all.extend(figures.map(|figure| decimal(Some(figure))));
    all.push(failed.to_string());
    all.extend_from_slice(more);
    std::array::from_fn(|at| all.get(at).cloned().unwrap_or_else(|| "-".to_owned()))
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
            resident_bytes: host.server().resident_bytes()?,
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
            resident_bytes: samples.iter().map(|sample| sample.resident_bytes).max().unwrap_or_default(),
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
            "resident_bytes": self.curve.resident_bytes,
            "possible_requests_per_second": self.possible,
            "beside": self.beside.iter().map(|(peer, load)| json!({
                "server": peer.title(),
                "requests_per_second": load.requests_per_second,
                "p50_ms": load.p50_ms,
                "p99_ms": load.p99_ms,
                "errors": load.errors(),
            })).collect::<Vec<_>>(),
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
                Sample {
                    at: start + Duration::from_millis(ms),
                    instances,
                    in_flight: 0,
                    invocations,
                    resident_bytes: ms,
                }
            })
            .collect();
        let curve = Curve::of(&samples);
        // At most a twentieth of the window may be in the slow part.
        assert_eq!(curve.plateau_ms.map(f64::round), Some(190.0));
        assert_eq!((curve.instances_ms.round(), curve.instances[0], curve.instances[1]), (60.0, 7, 7));
        assert_eq!(curve.resident_bytes, 2_000);
        assert!((curve.instance_seconds - (0.05 * 3.0 + 1.9 * 7.0)).abs() < 0.001, "{curve:?}");
        assert_eq!(Curve::of(&[]), Curve::default());
    }
}
