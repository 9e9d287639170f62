//! `restart`: time from the start of a killed host to the first answer of the last one of its apps.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;

use crate::client::{Connection, Request};
use crate::load::app_name;
use crate::process::Server;
use crate::report::Report;
use crate::stats::{median, microseconds, range};
use crate::table::Table;
use crate::wfn::{Host, up};
use crate::workspace::Workspace;

/// How long a restart may take before the bench gives up.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two attempts; small against what is measured.
const ATTEMPT_PAUSE: Duration = Duration::from_micros(200);
/// Ports below the range that the system uses for outgoing connections. An attempt to connect to a free port in that
/// range may connect to itself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct Restart {
    /// How many apps, each with one always-ready instance
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    apps: u32,
    /// How often the host is killed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

impl Restart {
    /// Runs the bench.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let mut report = Report::begin("restart");
        let module = workspace.guest("hello")?;
        let host = Host::start_for(workspace, u64::from(self.apps) + 1)?;
        for number in 0..self.apps {
            host.deploy(&module, &app_name(number), &["--always-ready", "1"])?;
        }
        let (wfn, data_dir) = (workspace.wfn()?, host.kill()?);
        let (functions, admin) = (free_address()?, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        // Apps come back in the order of their names.
        let request = Request::get(&format!("/{}/", app_name(self.apps - 1)));
        let mut times = Vec::new();
        for number in 1..=self.runs {
            let begun = Instant::now();
            let mut command = up(wfn, data_dir.path(), [&functions.to_string(), &admin.to_string()]);
            let mut server = Server::start_unready(&mut command).context("failed to start wfn")?;
            let took = first_answer(&mut server, functions, &request, begun)?;
            eprintln!("run {number} of {}: {:.1} ms", self.runs, took.as_secs_f64() * 1e3);
            times.push(took);
            server.kill()?;
        }
        report.note(format!(
            "{} apps (hello), 1 always-ready instance each, SIGKILL, {} runs, median (range)",
            self.apps, self.runs
        ));
        let times = microseconds(&times);
        let (low, high) = range(&times);
        let mut table = Table::new(["apps", "process start to first answer of the last app, ms"]);
        table.row([
            self.apps.to_string(),
            format!("{:.1} ({:.1}–{:.1})", median(&times) / 1e3, low / 1e3, high / 1e3),
        ]);
        report.end(workspace, &table, json!({ "apps": self.apps, "first_answer_us": times }))
    }
}

/// Tries until the app answers 200. Returns the time since `begun`.
fn first_answer(
    server: &mut Server,
    address: SocketAddr,
    request: &Request,
    begun: Instant,
) -> Result<Duration> {
    loop {
        let answer = Connection::open(address).ok().and_then(|mut connection| connection.call(request).ok());
        if let Some((answer, _)) = answer
            && answer.status == 200
        {
            return Ok(begun.elapsed());
        }
        if !server.is_running() {
            bail!("wfn ended:\n{}", server.last_lines());
        }
        if begun.elapsed() > ANSWER_WITHIN {
            bail!("no answer within {} s:\n{}", ANSWER_WITHIN.as_secs(), server.last_lines());
        }
        std::thread::sleep(ATTEMPT_PAUSE);
    }
}

fn free_address() -> Result<SocketAddr> {
    let start = PORTS.start + (std::process::id() % u32::from(PORTS.end - PORTS.start)) as u16;
    let addresses = (start..PORTS.end)
        .chain(PORTS.start..start)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    addresses.into_iter().find(|address| TcpListener::bind(address).is_ok()).context("there is no free port")
}
