//! `deploys`: many new revisions, one after another, under load. None of them may lose a request.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;

use crate::load::Load;
use crate::report::Report;
use crate::stats::{microseconds, quantile};
use crate::table::{Table, grouped};
use crate::wfn::Host;
use crate::workspace::Workspace;

/// Longest load, in seconds. It ends when the deploys have ended.
const SECONDS_MAX: u64 = 600;

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct Deploys {
    /// How many deploys
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Keep-alive connections of the load
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
}

impl Deploys {
    /// Runs the bench.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let load = Load::new(workspace, self.connections, None)?;
        let module = workspace.guest("hello")?;
        let mut report = Report::begin("deploys");
        let host = Host::start(workspace)?;
        let deploy = |number: u32| -> Result<(u64, Duration)> {
            let value = format!("REVISION={number}");
            let deployed = host.deploy(&module, "hello", &["--always-ready", "1", "-e", &value])?;
            let prepared = deployed["prepared_us"].as_u64().map(Duration::from_micros);
            deployed["revision"].as_u64().zip(prepared).context("the deploy does not say what it did")
        };
        let (first, _) = deploy(0)?;
        let running = load.start(&format!("http://{}/hello/", host.functions()), SECONDS_MAX)?;
        let begun = Instant::now();
        let (mut times, mut preparing, mut last) = (Vec::new(), Vec::new(), first);
        for number in 1..=self.count {
            let one = Instant::now();
            let (revision, prepared) = deploy(number)?;
            times.push(one.elapsed());
            preparing.push(prepared);
            last = revision;
        }
        let took = begun.elapsed();
        let measured = running.stop()?;
        host.stop()?;

        if last != first + u64::from(self.count) {
            report.note(format!("revisions went from {first} to {last} in {} deploys", self.count));
        }
        report.note(format!(
            "load from {} keep-alive connections all the time; a deploy is a whole 'wfn deploy', from the \
             start of the process to its end",
            self.connections
        ));
        if measured.errors() > 0 {
            report.note(format!(
                "! requests went wrong: {} answers that were not 2xx, {} broken connections",
                measured.status_errors, measured.socket_errors
            ));
        }
        let (times, preparing) = (microseconds(&times), microseconds(&preparing));
        let per_second = f64::from(self.count) / took.as_secs_f64();
        let mut table = Table::new([
            "deploys",
            "deploys/s",
            "deploy p50 ms",
            "p99 ms",
            "of it making the instance p50 ms",
            "requests",
            "requests/s",
            "request p99 ms",
            "max ms",
            "failed requests",
        ]);
        table.row([
            self.count.to_string(),
            format!("{per_second:.1}"),
            format!("{:.1}", quantile(&times, 0.5) / 1e3),
            format!("{:.1}", quantile(&times, 0.99) / 1e3),
            format!("{:.2}", quantile(&preparing, 0.5) / 1e3),
            grouped(measured.requests as f64),
            grouped(measured.requests_per_second),
            format!("{:.2}", measured.p99_ms),
            format!("{:.2}", measured.max_ms),
            measured.errors().to_string(),
        ]);
        let figures = json!({
            "count": self.count,
            "deploys_per_second": per_second,
            "deploy_us": times,
            "prepared_us": preparing,
            "requests": measured.requests,
            "requests_per_second": measured.requests_per_second,
            "request_p99_ms": measured.p99_ms,
            "request_max_ms": measured.max_ms,
            "status_errors": measured.status_errors,
            "socket_errors": measured.socket_errors,
        });
        report.end(workspace, &table, figures)
    }
}
