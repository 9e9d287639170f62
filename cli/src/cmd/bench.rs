//! `wfn bench`: calls an app, or a URL, as fast or as often as told, and says what came of it.

mod measured;
mod plot;
mod recommend;
mod tables;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use wfn_load::{Mode, Plan, Report};
use wfn_manifest::limits;
use wfn_manifest::manifest::values::Span;
use wfn_manifest::names::AppName;

use crate::client::Client;
use crate::cmd::bench::measured::{AppUnderTest, Used};
use crate::cmd::bench::recommend::Profile;
use crate::cmd::bench::target::Goal;
use crate::cmd::given_bytes;
use crate::failure::{Done, Failure, WhileDoing};
use crate::output::{self, Progress};
use crate::settings::Global;

/// Arguments of `wfn bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --rate each client sends its next request when the last was answered (closed loop). With\n\
                  it requests are due at that rate, and latency counts from when they were due (open loop).\n\
                  --concurrency and --recommend make temporary revisions of the app; the one that served before\n\
                  serves again afterwards."
)]
pub struct Bench {
    /// Name of an app of this host, or a URL
    #[arg(value_name = "APP|URL", value_parser = Goal::parse)]
    goal: Goal,

    /// Path and query below the app
    #[arg(value_name = "PATH", default_value = "/")]
    path: String,

    /// Connections, each with one request at a time
    #[arg(short, long, value_name = "N", default_value_t = 50)]
    clients: u32,

    /// Requests each second, whatever becomes of them [default: as many as are answered]
    #[arg(short, long, value_name = "N")]
    rate: Option<u32>,

    /// How long requests are sent
    #[arg(short = 't', long, value_name = "TIME", default_value = "10s", value_parser = RunTime::parse)]
    duration: RunTime,

    /// End when so many were answered
    #[arg(short = 'n', long, value_name = "N")]
    requests: Option<u64>,

    /// HTTP method [default: POST with --data, otherwise GET]
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,

    /// Body of each request: text, @FILE, or - for standard input
    #[arg(short, long, value_name = "BODY")]
    data: Option<String>,

    /// A header of each request, as NAME:VALUE
    #[arg(short = 'H', long, value_name = "NAME:VALUE")]
    header: Vec<String>,

    /// Longest wait for one answer
    #[arg(long, value_name = "TIME", default_value = "30s", env = "WFN_BENCH_TIMEOUT", value_parser = RunTime::parse, hide_env_values = true)]
    timeout: RunTime,

    /// Threads that send
    #[arg(long, value_name = "N", default_value_t = 1, env = "WFN_BENCH_THREADS", hide_env_values = true)]
    threads: u32,

    /// Compare these values of the app's concurrency, such as 16,8,4
    #[arg(long, value_name = "N,N…", value_delimiter = ',', env = "WFN_BENCH_CONCURRENCY", hide_env_values = true,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::CONCURRENCY_MAX)))]
    concurrency: Vec<u32>,

    /// Say which settings fit the app, and why
    #[arg(long)]
    recommend: bool,

    /// Write a page with the tables and plots of the run
    #[arg(long, value_name = "FILE.html", env = "WFN_BENCH_REPORT", hide_env_values = true)]
    report: Option<PathBuf>,
}

/// From a moment to a day.
type RunTime = Span<1, 86_400_000>;

/// One run: how it was made, what the client saw, and what the host says of it.
pub struct Run {
    /// The app's concurrency, if that was set for this run.
    pub concurrency: Option<u32>,
    /// What the client saw.
    pub report: Report,
    /// What the host says, if it is an app of its own.
    pub used: Option<Used>,
}

impl Bench {
    /// Runs it.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        let app = self.goal.app();
        if app.is_none() && (self.recommend || !self.concurrency.is_empty()) {
            return Err(Failure::usage("--concurrency and --recommend need an app of this host, not a URL"));
        }
        let mut plan = self.plan(&client)?;
        let Some(app) = app else {
            let run = Run { concurrency: None, report: load(&plan)?, used: None };
            return self.show(&[run], None, global.json);
        };
        let app = AppUnderTest::new(&client, app)?;
        let profile = match self.recommend {
            true => Some(self.profile(&mut plan, &app)?),
            false => None,
        };
        let mut values: Vec<Option<u32>> = self.concurrency.iter().copied().map(Some).collect();
        if let Some(profile) = profile.as_ref().filter(|_| values.is_empty()) {
            values.extend(profile.worth_trying().into_iter().map(Some));
        }
        if values.is_empty() {
            values.push(None);
        }
        let mut runs = Vec::new();
        let temporary = app.temporary(values.iter().any(Option::is_some))?;
        for concurrency in values {
            if let Some(concurrency) = concurrency {
                app.set_concurrency(concurrency)?;
            }
            let before = app.look()?;
            let report = load(&plan)?;
            runs.push(Run { concurrency, report, used: Some(app.used_since(&before)?) });
        }
        drop(temporary);
        let advice = profile.map(|profile| profile.advice(&runs));
        self.show(&runs, advice.as_ref(), global.json)
    }

    fn plan(&self, client: &Client) -> Done<Plan> {
        let body = match &self.data {
            Some(data) => given_bytes(data, limits::REQUEST_BODY_BYTES_MAX as usize, "body")?,
            None => Vec::new(),
        };
        let default_method = if self.data.is_some() { "POST" } else { "GET" };
        let header = |text: &String| match text.split_once(':') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
            None => Err(Failure::usage(format!("{text:?} is no header: use NAME:VALUE"))),
        };
        Ok(Plan {
            target: self.goal.target(client, &self.path)?,
            method: self.method.as_deref().unwrap_or(default_method).to_uppercase(),
            headers: self.header.iter().map(header).collect::<Done<_>>()?,
            body: Bytes::from(body),
            mode: match self.rate {
                Some(per_second) => Mode::Open { per_second, clients: self.clients },
                None => Mode::Closed { clients: self.clients },
            },
            duration: self.duration.get(),
            limit: self.requests,
            timeout: self.timeout.get(),
            threads: self.threads,
        })
    }

    /// What one call at a time takes, when nobody waits for anybody.
    fn profile(&self, plan: &mut Plan, app: &AppUnderTest<'_>) -> Done<Profile> {
        let alone = Plan {
            mode: Mode::Closed { clients: 1 },
            duration: ALONE.min(plan.duration),
            limit: None,
            threads: 1,
            ..plan.clone()
        };
        let before = app.look()?;
        load(&alone)?;
        Ok(Profile::new(&app.used_since(&before)?, app.cores()?, app.guest()?))
    }

    fn show(&self, runs: &[Run], advice: Option<&recommend::Advice>, as_json: bool) -> Done {
        if let Some(file) = &self.report {
            let page = plot::page(&self.goal.to_string(), runs, advice);
            std::fs::write(file, page)
                .map_err(Failure::new)
                .while_doing(|| format!("write {}", file.display()))?;
        }
        if as_json {
            let shown: Vec<Value> = runs.iter().map(tables::json).collect();
            return output::print_json(
                &json!({ "runs": shown, "recommended": advice.map(|advice| &advice.settings) }),
            );
        }
        output::print(&tables::tables(runs))?;
        match advice {
            Some(advice) => output::print(&format!("\n{}", advice.shown(self.goal.app()))),
            None => Ok(()),
        }
    }
}

/// How long the app is called by one client alone, to see what a call takes.
const ALONE: Duration = Duration::from_secs(3);

/// Sends the load, with progress on a terminal.
fn load(plan: &Plan) -> Done<Report> {
    let mut progress = Progress::new();
    let shown = plan.duration;
    let report = wfn_load::run(plan, |second| {
        let share = second.until.as_secs_f64() / shown.as_secs_f64();
        progress.update(|| {
            let done = (share.min(1.0) * 20.0) as usize;
            let (bar, rest) = ("█".repeat(done), "░".repeat(20 - done));
            let seconds = (second.until - second.from).as_secs_f64().max(0.001);
            format!(
                "{bar}{rest} {:.0}/{:.0} s  {:.0} calls/s  p99 {}  {} failed",
                second.until.as_secs_f64(),
                shown.as_secs_f64(),
                second.requests as f64 / seconds,
                output::microseconds(second.p99.as_micros() as u64),
                second.errors,
            )
        });
    });
    report.map_err(|error| Failure::new(format!("{error:#}"))).while_doing(|| "run the load".to_owned())
}

/// Is told an app's name where one is needed.
fn name_of(app: Option<&AppName>) -> String {
    app.map_or("APP".to_owned(), AppName::to_string)
}
