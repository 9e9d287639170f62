//! `outbound`: functions that wait for another server: how many instances and connections and how much memory they
//! need, and what the check of their requests costs.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::client::{Connection, Request};
use crate::load::{Load, Measured};
use crate::process::Server;
use crate::report::Report;
use crate::stats::{median, microseconds, quantile};
use crate::table::{Table, decimal, grouped};
use crate::wfn::Host;
use crate::workspace::Workspace;

/// Entries of a long policy: as many as a manifest may have.
const ENTRIES: usize = 128;

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct Outbound {
    /// Clients, each with one request at a time
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How long the other server takes for an answer, in milliseconds
    #[arg(long, default_value_t = 50)]
    delay_ms: u64,
    /// How long each measurement takes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How often each is measured, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// First requests for the cost of the policy at a new instance, each with and without
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    first: u32,
}

/// The results of one round of one guest.
struct Round {
    load: Measured,
    sent: f64,
    opened: f64,
    instances: f64,
    resident_mb: f64,
}

impl Outbound {
    /// Runs the bench.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let mut report = Report::begin("outbound");
        let upstream = upstream(self.delay_ms)?;
        report.note(format!(
            "{} clients, concurrency 16, each call asks a server that answers after {} ms, {} rounds of {} s, medians",
            self.connections, self.delay_ms, self.rounds, self.seconds
        ));
        let mut table = Table::new([
            "guest, allowed",
            "RPS",
            "p50 ms",
            "p99 ms",
            "errors",
            "instances",
            "outbound requests",
            "connections opened",
            "RSS MB",
        ]);
        let near = vec![format!("http://{}", upstream.1)];
        // The entry that allows it is the last one, behind as many as there may be.
        let far: Vec<_> = (1..ENTRIES)
            .map(|number| format!("https://server-{number}.example.com"))
            .chain(near.clone())
            .collect();
        let cases = [("fetch", &near), ("fetch", &far), ("async-fetch", &near), ("async-fetch", &far)];
        let mut rounds: Vec<Vec<Round>> = cases.iter().map(|_| Vec::new()).collect();
        for _ in 0..self.rounds {
            for ((guest, allowed), rounds) in cases.iter().zip(&mut rounds) {
                let round = self.round(workspace, guest, allowed, upstream.1)?;
                eprintln!(
                    "{guest}, {} entries: {} requests/s",
                    allowed.len(),
                    grouped(round.load.requests_per_second)
                );
                rounds.push(round);
            }
        }
        let mut figures = Vec::new();
        for ((guest, allowed), rounds) in cases.iter().zip(&rounds) {
            let middle = |value: fn(&Round) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
            table.row([
                format!("{guest}, {} entries", allowed.len()),
                grouped(middle(|round| round.load.requests_per_second)),
                decimal(Some(middle(|round| round.load.p50_ms))),
                decimal(Some(middle(|round| round.load.p99_ms))),
                rounds.iter().map(|round| round.load.errors()).sum::<u64>().to_string(),
                grouped(middle(|round| round.instances)),
                grouped(middle(|round| round.sent)),
                grouped(middle(|round| round.opened)),
                grouped(middle(|round| round.resident_mb)),
            ]);
            figures.push(json!({
                "guest": guest,
                "entries": allowed.len(),
                "requests_per_second": middle(|round| round.load.requests_per_second),
                "connections_opened": middle(|round| round.opened),
                "outbound_requests": middle(|round| round.sent),
                "instances": middle(|round| round.instances),
            }));
        }
        let (without, with) = self.first_answers(workspace, &far)?;
        for (what, values) in [("no entry", &without), ("128 entries", &with)] {
            report.note(format!(
                "first answer of hello with a new instance, {what}: p50 {:.1} µs, p99 {:.1} µs ({} apps)",
                quantile(values, 0.5),
                quantile(values, 0.99),
                self.first
            ));
        }
        upstream.0.stop()?;
        let figures = json!({ "load": figures, "first_us": { "without": without, "with": with } });
        report.end(workspace, &table, figures)
    }

    fn round(
        &self,
        workspace: &Workspace,
        guest: &str,
        allowed: &[String],
        upstream: SocketAddr,
    ) -> Result<Round> {
        let host = Host::start(workspace)?;
        let allowed = allowed.join(",");
        host.deploy(&workspace.guest(guest)?, guest, &["--concurrency", "16", "--allow-outbound", &allowed])?;
        let load = Load::new(workspace, self.connections, None)?;
        let url = format!("http://{}/{guest}/get?http://{upstream}/", host.functions());
        let load = load.run(&url, self.seconds)?;
        let status = host.command(["status", guest])?;
        let number = |value: &Value| value.as_f64().context("the status lacks a number");
        let round = Round {
            load,
            sent: number(&status["outbound"]["requests"])?,
            opened: number(&status["outbound"]["connections"])?,
            instances: number(&status["groups"][0]["instances_peak"])?,
            resident_mb: host.server().resident_bytes()? as f64 / 1e6,
        };
        host.stop()?;
        Ok(round)
    }

    /// How long the first answer of an app without an instance takes, without a policy and with one, in microseconds.
    fn first_answers(&self, workspace: &Workspace, allowed: &[String]) -> Result<(Vec<f64>, Vec<f64>)> {
        let host = Host::start_for(workspace, u64::from(self.first) * 2 + 1)?;
        let (module, allowed) = (workspace.guest("hello")?, allowed.join(","));
        let idle = ["--idle-timeout", "1h"];
        for number in 0..self.first {
            host.deploy(&module, &format!("without-{number}"), &idle)?;
            host.deploy(
                &module,
                &format!("with-{number}"),
                &[&idle[..], &["--allow-outbound", &allowed]].concat(),
            )?;
        }
        let mut connection = Connection::open_when_ready(host.functions())?;
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for number in 0..self.first {
            for (name, times) in [("without", &mut without), ("with", &mut with)] {
                let (answer, took) = connection.call(&Request::get(&format!("/{name}-{number}/")))?;
                answer.ok()?;
                times.push(took);
            }
        }
        host.stop()?;
        Ok((microseconds(&without), microseconds(&with)))
    }
}

/// Starts the server that the functions call.
fn upstream(delay_ms: u64) -> Result<(Server, SocketAddr)> {
    let own = std::env::current_exe().context("failed to find this program")?;
    let delay = delay_ms.to_string();
    let mut command = Command::new(own);
    command.args(["hyper-server", "--delay-ms", &delay]);
    Server::start(&mut command, |line| line.strip_prefix("hyper ready: http://")?.trim().parse().ok())
        .context("failed to start the other server")
}
