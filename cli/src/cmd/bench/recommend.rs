//! Which settings fit an app, from what was measured (SPEC 6.5).

use serde_json::{Value, json};
use wfn_manifest::names::AppName;

use crate::cmd::bench::measured::{Guest, Used};
use crate::cmd::bench::tables::errors;
use crate::cmd::bench::{Run, name_of};
use crate::output;

/// What a call of the app does when it is alone.
#[derive(Debug, Clone)]
pub struct Profile {
    kind: Kind,
    /// Share of its time in which a call computes.
    share: f64,
    ran_us: f64,
    cpu_us: f64,
    memory_bytes: u64,
    cores: u64,
    guest: Guest,
}

/// The three kinds of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    CpuBound,
    Mixed,
    IoBound,
}

/// Calls that compute for more of their time than this are bound by the processor…
const CPU_BOUND_SHARE: f64 = 0.7;
/// …and for less than this by what they wait for.
const IO_BOUND_SHARE: f64 = 0.3;
/// A value whose throughput is this close to the best is as good.
const NEARLY_BEST: f64 = 0.95;
/// Cold starts above this are felt by whoever calls first, in microseconds.
const COLD_START_FELT_US: f64 = 20_000.0;
/// A worker may come to hold more than it did in the run.
const MEMORY_MARGIN: f64 = 1.5;

/// The recommended settings, and why.
#[derive(Debug, Clone)]
pub struct Advice {
    /// As `wfn scale` takes them.
    pub settings: Value,
    flags: Vec<String>,
    reasons: Vec<String>,
}

impl Profile {
    /// From a run with one client.
    pub fn new(alone: &Used, cores: u64, guest: Guest) -> Self {
        let share = if alone.ran_us > 0.0 { (alone.cpu_us / alone.ran_us).min(1.0) } else { 1.0 };
        let kind = match share {
            share if share >= CPU_BOUND_SHARE => Kind::CpuBound,
            share if share <= IO_BOUND_SHARE => Kind::IoBound,
            _ => Kind::Mixed,
        };
        let Used { ran_us, cpu_us, memory_bytes, .. } = *alone;
        Self { kind, share, ran_us, cpu_us, memory_bytes, cores, guest }
    }

    /// The values of concurrency that may fit.
    pub fn worth_trying(&self) -> Vec<u32> {
        let cores = u32::try_from(self.cores).unwrap_or(1);
        let mut values = match self.kind {
            // Low, raised step by step.
            Kind::CpuBound => vec![1, cores, cores * 2, 16],
            Kind::Mixed => vec![cores, 8, 16, 32],
            // More than cores + 4: what waits costs little.
            Kind::IoBound => vec![cores + 4, 16, 32, 64],
        };
        values.sort_unstable();
        values.dedup();
        values
    }

    /// The settings that fit best, by the runs with several values.
    pub fn advice(&self, runs: &[Run]) -> Advice {
        let mut advice = Advice { settings: json!({}), flags: Vec::new(), reasons: vec![self.shown()] };
        let best = best(runs);
        if let Some((run, concurrency)) = best.and_then(|run| Some((run, run.concurrency?))) {
            let rps = run.report.per_second;
            let p99 = output::microseconds(run.report.latency.p99.as_micros() as u64);
            advice.add(
                "concurrency",
                concurrency.into(),
                format!("{rps:.0} calls/s with a p99 of {p99}: none did better than 5 % more, and of those as good it is the cheapest"),
            );
            self.memory(&mut advice, concurrency);
        }
        if self.guest.is_async && self.kind == Kind::CpuBound {
            let workers = self.cores.clamp(1, 10);
            advice.add(
                "workers",
                workers.into(),
                format!("calls compute: a worker for each of {workers} cores"),
            );
        }
        advice.reasons.extend(self.in_python());
        let cold = runs.iter().filter_map(|run| run.used.as_ref()?.cold_start_p99_us).reduce(f64::max);
        if let Some(cold) = cold {
            let took = output::microseconds(cold as u64);
            match cold > COLD_START_FELT_US {
                true => advice.add("always_ready", 1.into(), format!("a cold start takes up to {took}")),
                false => {
                    advice.add(
                        "always_ready",
                        0.into(),
                        format!("a cold start takes {took}: nobody feels it"),
                    );
                }
            }
        }
        advice
    }

    fn shown(&self) -> String {
        let kind = match self.kind {
            Kind::CpuBound => "bound by the processor",
            Kind::Mixed => "mixed",
            Kind::IoBound => "bound by what it waits for",
        };
        let (ran, cpu) = (output::microseconds(self.ran_us as u64), output::microseconds(self.cpu_us as u64));
        let percent = self.share * 100.0;
        format!("the app is {kind}: a call alone takes {ran}, {cpu} of it computing ({percent:.0} %)")
    }

    /// What its kind of workload means for a Python application.
    fn in_python(&self) -> Option<String> {
        let Guest { is_async, is_python } = self.guest;
        let cores = self.cores;
        let text = match (self.kind, is_async) {
            _ if !is_python => return None,
            (Kind::CpuBound, false) => {
                format!("a Python worker computes for one invocation at a time: more than {cores} at once, one on each core, serve no more")
            }
            (Kind::CpuBound, true) => {
                "while one call computes, the other calls of its worker wait: def functions that only compute are as quick under WSGI"
                    .to_owned()
            }
            (_, false) => {
                "a WSGI worker waits for one invocation at a time; under ASGI (async def, wfn new -t python-async) one worker waits for \
                 many, with the memory of one"
                    .to_owned()
            }
            (_, true) => {
                "one worker waits for many calls, if what they wait for is awaited: a blocking call holds all others of its worker"
                    .to_owned()
            }
        };
        Some(text)
    }

    fn memory(&self, advice: &mut Advice, concurrency: u32) {
        if self.memory_bytes == 0 {
            return;
        }
        let workers = if self.guest.is_async { 1 } else { u64::from(concurrency) };
        let need_mb = self.memory_bytes as f64 * MEMORY_MARGIN * workers as f64 / f64::from(1 << 20);
        let class = if need_mb <= 2_048.0 { 2_048 } else { 4_096 };
        let each = output::bytes(self.memory_bytes);
        let why = format!("{workers} × {each}, and half as much again, are {need_mb:.0} MB");
        match need_mb <= 4_096.0 {
            true => advice.add("memory_mb", class.into(), why),
            false => {
                advice.reasons.push(format!("{why}: more than an instance may have; lower the concurrency"))
            }
        }
    }
}

/// Of the runs whose throughput is nearly the best, and that failed no more often, the cheapest; of those that cost the
/// same, the one with the lowest p99.
fn best(runs: &[Run]) -> Option<&Run> {
    let fewest = runs.iter().map(errors).min()?;
    let sound = || runs.iter().filter(move |run| errors(run) <= fewest);
    let most = sound().map(|run| run.report.per_second).fold(0.0, f64::max);
    let nearly = sound().filter(|run| run.report.per_second >= most * NEARLY_BEST);
    nearly.min_by(|one, other| {
        let cost = |run: &Run| run.used.as_ref().and_then(|used| used.cost_per_million).unwrap_or_default();
        let p99 = |run: &Run| run.report.latency.p99;
        cost(one).total_cmp(&cost(other)).then_with(|| p99(one).cmp(&p99(other)))
    })
}

impl Advice {
    fn add(&mut self, setting: &str, value: Value, why: String) {
        let flag = match setting {
            "memory_mb" => "memory".to_owned(),
            other => other.replace('_', "-"),
        };
        self.flags.push(format!("--{flag} {value}"));
        self.reasons.push(format!("{flag} {value}: {why}"));
        self.settings[setting] = value;
    }

    /// For people.
    pub fn shown(&self, app: Option<&AppName>) -> String {
        let reasons: String = self.reasons.iter().map(|reason| format!("  {reason}\n")).collect();
        let command = format!("wfn scale {} {}", name_of(app), self.flags.join(" "));
        format!("Recommended:\n{reasons}\n  {command}")
    }

    /// Why, a sentence each.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(cpu_us: f64, ran_us: f64, memory_bytes: u64) -> Used {
        Used { cpu_us, ran_us, memory_bytes, ..Used::default() }
    }

    #[test]
    fn the_share_of_computing_decides_what_is_tried() {
        let profile = |cpu_us| Profile::new(&alone(cpu_us, 100.0, 0), 2, Guest::default());
        assert_eq!(
            (profile(90.0).kind, profile(50.0).kind, profile(1.0).kind),
            (Kind::CpuBound, Kind::Mixed, Kind::IoBound)
        );
        assert_eq!(profile(90.0).worth_trying(), [1, 2, 4, 16]);
        assert_eq!(profile(1.0).worth_trying(), [6, 16, 32, 64]);
    }

    #[test]
    fn python_is_told_what_its_workers_do() {
        let told = |cpu_us, is_async, is_python| {
            Profile::new(&alone(cpu_us, 100.0, 0), 2, Guest { is_async, is_python }).in_python()
        };
        assert_eq!(told(90.0, false, false), None);
        assert!(told(90.0, false, true).unwrap().contains("more than 2 at once"));
        assert!(told(50.0, false, true).unwrap().contains("wfn new -t python-async"));
        assert!(told(5.0, true, true).unwrap().contains("awaited"));
    }

    #[test]
    fn the_class_holds_all_workers() {
        let advised = |memory_bytes, concurrency, is_async| {
            let profile =
                Profile::new(&alone(1.0, 1.0, memory_bytes), 2, Guest { is_async, is_python: false });
            let mut advice = Advice { settings: json!({}), flags: Vec::new(), reasons: Vec::new() };
            profile.memory(&mut advice, concurrency);
            advice.settings["memory_mb"].as_u64()
        };
        assert_eq!(advised(64 << 20, 16, false), Some(2_048));
        assert_eq!(advised(100 << 20, 16, false), Some(4_096));
        assert_eq!(advised(400 << 20, 16, false), None);
        assert_eq!(advised(400 << 20, 16, true), Some(2_048));
    }
}
