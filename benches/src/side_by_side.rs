//! `side-by-side`: the same guest on wfn and on its peers, in interleaved rounds on one machine.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::client::{Connection, Request};
use crate::load::{Load, Measured};
use crate::peers::{self, Peer};
use crate::report::Report;
use crate::stats::{median, range};
use crate::table::{Table, decimal, grouped};
use crate::workspace::Workspace;

/// Length of the load before the measured one, in seconds.
const WARM_UP_SECONDS: u64 = 1;

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct SideBySide {
    /// How often each server is started and measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Keep-alive connections, each with one request at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Only these servers
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',', value_name = "NAME")]
    only: Vec<Peer>,
    /// Which guest of target/guests/ is served
    #[arg(long, default_value = "hello")]
    guest: String,
    /// Send a POST with this file as its body instead of a GET
    #[arg(long, value_name = "FILE")]
    post: Option<PathBuf>,
    /// Install the peers that are missing (wasmtime: some minutes)
    #[arg(long)]
    install_peers: bool,
}

/// One measurement of one server.
#[derive(Debug, Clone, Copy)]
struct Round {
    load: Measured,
    /// CPU seconds of the server for 100,000 requests.
    cpu_seconds: f64,
    resident_bytes: u64,
}

/// A server and its measurements.
#[derive(Debug)]
struct Row {
    peer: Peer,
    rounds: Vec<Round>,
}

impl SideBySide {
    /// Runs the bench.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let load = Load::new(workspace, self.connections, self.post.as_deref())?;
        let guest = workspace.guest(&self.guest)?;
        let mut report = Report::begin(self.name());
        let mut rows: Vec<Row> = self
            .peers(workspace, &mut report)?
            .into_iter()
            .map(|peer| Row { peer, rounds: Vec::new() })
            .collect();
        if rows.is_empty() {
            bail!("there is no server left to measure");
        }
        let request = self.request()?;
        let mut body = None;
        for number in 0..self.rounds {
            for row in &mut rows {
                let serving = row.peer.start(workspace, &guest)?;
                let name = row.peer.title();
                let answer = Connection::open_when_ready(serving.address())
                    .and_then(|mut connection| {
                        let request = Request { path: serving.path().to_owned(), ..request.clone() };
                        connection.call(&request)?.0.ok()
                    })
                    .with_context(|| format!("failed to call {name}"))?;
                if row.peer.runs_guests() && *body.get_or_insert_with(|| answer.clone()) != answer {
                    bail!("{name} answers something else than the servers before it");
                }
                let url = format!("http://{}{}", serving.address(), serving.path());
                load.run(&url, WARM_UP_SECONDS)?;
                let before = serving.server().cpu_time()?;
                let measured = load.run(&url, self.seconds)?;
                let used = serving.server().cpu_time()? - before;
                let round = Round {
                    load: measured,
                    cpu_seconds: used.as_secs_f64() / measured.requests.max(1) as f64 * 100_000.0,
                    resident_bytes: serving.server().resident_bytes()?,
                };
                serving.stop().with_context(|| format!("failed to stop {name}"))?;
                eprintln!(
                    "round {} of {}: {name}: {} requests/s, p99 {:.2} ms, {} errors",
                    number + 1,
                    self.rounds,
                    grouped(measured.requests_per_second),
                    measured.p99_ms,
                    measured.errors()
                );
                row.rounds.push(round);
            }
        }
        self.conclude(workspace, report, &rows)
    }

    /// The name of the result. An unusual load has another name, so that it does not replace the usual result.
    fn name(&self) -> String {
        let guest = if self.guest == "hello" { String::new() } else { format!("-{}", self.guest) };
        let connections =
            if self.connections == 64 { String::new() } else { format!("-c{}", self.connections) };
        format!("side-by-side{guest}{connections}")
    }

    /// The servers to measure. Those that are not installed are left out, with a note.
    fn peers(&self, workspace: &Workspace, report: &mut Report) -> Result<Vec<Peer>> {
        let mut peers = Vec::new();
        for &peer in Peer::all() {
            let is_wanted = self.only.is_empty() || self.only.contains(&peer);
            if !is_wanted || !peer.is_for(&self.guest) {
                continue;
            }
            if self.install_peers && peer.is_wasmtime() && peer.missing(workspace)?.is_some() {
                let status = peers::install_command(workspace).status().context("failed to start cargo")?;
                if !status.success() {
                    bail!("cargo install failed: {status}");
                }
            }
            match peer.missing(workspace)? {
                None => peers.push(peer),
                Some(remedy) => {
                    report.note(format!("{} was left out, it is not installed: {remedy}", peer.title()));
                }
            }
        }
        Ok(peers)
    }

    fn request(&self) -> Result<Request> {
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
        Ok(Request { body: self.post.as_ref().map(read).transpose()?, ..Request::default() })
    }

    fn conclude(&self, workspace: &Workspace, mut report: Report, rows: &[Row]) -> Result<()> {
        report.note(format!(
            "{} keep-alive connections, guest {}, {} rounds of {} s, medians (range); \
             the load generator shares the cores; CPU is the server's for 100,000 requests",
            self.connections, self.guest, self.rounds, self.seconds
        ));
        if self.guest != "hello" || self.post.is_some() {
            report.note("bare hyper answers one line of text whatever is asked".to_owned());
        }
        for row in rows.iter().filter(|row| row.errors() > 0) {
            report.note(format!("! {}: {} requests went wrong", row.peer.title(), row.errors()));
        }
        let speed = |row: &Row| row.median(|round| round.load.requests_per_second);
        let hyper = rows.iter().find(|row| row.peer == Peer::Hyper).map(speed);
        let wasmtime = rows.iter().filter(|row| row.peer.is_wasmtime()).map(speed).max_by(f64::total_cmp);
        let mut table = Table::new([
            "server",
            "RPS (range)",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "CPU-s/100k",
            "RSS MB",
            "/ hyper",
            "/ wasmtime serve",
        ]);
        for row in rows {
            let (low, high) = range(&row.values(|round| round.load.requests_per_second));
            let mark = if row.errors() > 0 { " !" } else { "" };
            table.row([
                format!("{}{mark}", row.peer.title()),
                format!("{} ({}–{})", grouped(speed(row)), grouped(low), grouped(high)),
                decimal(Some(row.median(|round| round.load.p50_ms))),
                decimal(Some(row.median(|round| round.load.p99_ms))),
                decimal(Some(row.median(|round| round.load.p999_ms))),
                decimal(Some(row.median(|round| round.cpu_seconds))),
                format!("{:.0}", row.median(|round| round.resident_bytes as f64) / 1e6),
                decimal(hyper.map(|hyper| speed(row) / hyper)),
                decimal(wasmtime.map(|wasmtime| speed(row) / wasmtime)),
            ]);
        }
        let figures = json!({
            "guest": self.guest,
            "connections": self.connections,
            "seconds": self.seconds,
            "servers": rows.iter().map(Row::figures).collect::<Vec<_>>(),
        });
        report.end(workspace, &table, figures)
    }
}

impl Row {
    fn values(&self, value: impl Fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.iter().map(value).collect()
    }

    fn median(&self, value: impl Fn(&Round) -> f64) -> f64 {
        median(&self.values(value))
    }

    fn errors(&self) -> u64 {
        self.rounds.iter().map(|round| round.load.errors()).sum()
    }

    fn figures(&self) -> Value {
        let rounds = self.rounds.iter().map(|round| {
            json!({
                "requests": round.load.requests,
                "requests_per_second": round.load.requests_per_second,
                "p50_ms": round.load.p50_ms,
                "p90_ms": round.load.p90_ms,
                "p99_ms": round.load.p99_ms,
                "p999_ms": round.load.p999_ms,
                "max_ms": round.load.max_ms,
                "status_errors": round.load.status_errors,
                "socket_errors": round.load.socket_errors,
                "cpu_seconds_per_100k": round.cpu_seconds,
                "resident_bytes": round.resident_bytes,
            })
        });
        json!({ "server": self.peer.title(), "rounds": rounds.collect::<Vec<_>>() })
    }
}
