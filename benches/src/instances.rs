//! `instances`: makes many always-ready instances at once, then calls each of them once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::client::{Connection, Request};
use crate::report::Report;
use crate::table::{Table, decimal};
use crate::wfn::Host;
use crate::workspace::Workspace;

/// How long each held call keeps its instance: long enough for all to be in flight at once.
const HOLD: Duration = Duration::from_secs(3);

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct Instances {
    /// How many instances
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    count: u32,
}

/// The results of one guest.
#[derive(Debug)]
struct Shown {
    guest: &'static str,
    prepared: Duration,
    cold_start_us: Value,
    resident_before: u64,
    resident_ready: u64,
    /// With as many connections open; each of them has had one answer that no guest made.
    resident_connected: u64,
    resident_called: u64,
    calls: Calls,
}

/// What the calls have measured.
#[derive(Debug, Clone, Copy)]
enum Calls {
    /// Answered at once: from the first request sent to the last answer.
    Quick(Duration),
    /// Held: the most that were seen in flight at once.
    Held(u64),
}

impl Instances {
    /// Runs the bench.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let mut report = Report::begin("instances");
        report.note(
            "hello answers so fast that few of its instances are used at once; each call of echo holds its \
             instance until all are in flight, so that each serves exactly one"
                .to_owned(),
        );
        let hello = self.show(workspace, "hello", "/instances/", false)?;
        // Two chunks with the time between them, so the instance is in use until the last one is sent.
        let hold = format!("/instances/trickle?chunks=2&ms={}", HOLD.as_millis());
        let echo = self.show(workspace, "echo", &hold, true)?;
        let mut table = Table::new([
            "guest",
            "instances",
            "all made ms",
            "cold start p50 µs",
            "p99 µs",
            "max µs",
            "RSS before MB",
            "with instances MB",
            "per instance KB",
            "and connections MB",
            "after calls MB",
            "per instance KB",
            "in flight at once",
            "calls ms",
        ]);
        for shown in [&hello, &echo] {
            let ready = shown.resident_ready.saturating_sub(shown.resident_before);
            // The memory of the connections is subtracted.
            let called = ready + shown.resident_called.saturating_sub(shown.resident_connected);
            let per_instance = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(self.count) / 1e3);
            let (in_flight, took) = match shown.calls {
                Calls::Quick(took) => ("-".to_owned(), format!("{:.1}", took.as_secs_f64() * 1e3)),
                Calls::Held(in_flight) => (in_flight.to_string(), "-".to_owned()),
            };
            let cold = |name: &str| decimal(shown.cold_start_us[name].as_f64());
            let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
            table.row([
                shown.guest.to_owned(),
                self.count.to_string(),
                format!("{:.1}", shown.prepared.as_secs_f64() * 1e3),
                cold("p50"),
                cold("p99"),
                cold("max"),
                megabytes(shown.resident_before),
                megabytes(shown.resident_ready),
                per_instance(ready),
                megabytes(shown.resident_connected),
                megabytes(shown.resident_called),
                per_instance(called),
                in_flight,
                took,
            ]);
        }
        let figures = json!({ "count": self.count, "guests": [hello.figures(), echo.figures()] });
        report.end(workspace, &table, figures)
    }

    fn show(&self, workspace: &Workspace, guest: &'static str, path: &str, held: bool) -> Result<Shown> {
        let module = workspace.guest(guest)?;
        let host = Host::start_for(workspace, u64::from(self.count) + 1)?;
        // The module is compiled and loaded before anything is measured.
        host.deploy(&module, "first", &["--always-ready", "1"])?;
        let resident_before = host.server().resident_bytes()?;
        let count = self.count.to_string();
        let flags = ["--concurrency", "1", "--always-ready", &count, "--max-instances", "1000"];
        let deployed = host.deploy(&module, "instances", &flags)?;
        let prepared = deployed["prepared_us"].as_u64().context("the deploy does not say prepared_us")?;
        let resident_ready = host.server().resident_bytes()?;
        let ready = host.group("instances")?;
        self.check(&ready, "after the deploy")?;
        let open = |_| Connection::open_when_ready(host.functions());
        let mut connections = (0..self.count).map(open).collect::<Result<Vec<_>>>()?;
        for connection in &mut connections {
            let (answer, _) = connection.call(&Request::get("/no-such-app/"))?;
            if answer.status != 404 {
                bail!("a path without an app was answered {}", answer.status);
            }
        }
        let resident_connected = host.server().resident_bytes()?;
        let calls = self.call_all(&host, &mut connections, path, held)?;
        let resident_called = host.server().resident_bytes()?;
        self.check(&host.group("instances")?, "after the calls")?;
        host.stop()?;
        Ok(Shown {
            guest,
            prepared: Duration::from_micros(prepared),
            cold_start_us: ready["cold_start_us"].clone(),
            resident_before,
            resident_ready,
            resident_connected,
            resident_called,
            calls,
        })
    }

    fn check(&self, group: &Value, when: &str) -> Result<()> {
        if group["instances"] != self.count {
            bail!("there are {} instances {when}, not {}", group["instances"], self.count);
        }
        Ok(())
    }

    /// One call on each connection, all under way before the first answer is awaited.
    fn call_all(&self, host: &Host, connections: &mut [Connection], path: &str, held: bool) -> Result<Calls> {
        let request = Request::get(path);
        let begun = Instant::now();
        for connection in connections.iter_mut() {
            connection.send(&request).context("failed to send")?;
        }
        let mut in_flight = 0;
        while held && in_flight < u64::from(self.count) && begun.elapsed() < HOLD {
            let now = host.group("instances")?["in_flight"].as_u64().unwrap_or(0);
            in_flight = in_flight.max(now);
        }
        for connection in connections {
            connection.receive()?.ok()?;
        }
        Ok(if held { Calls::Held(in_flight) } else { Calls::Quick(begun.elapsed()) })
    }
}

impl Shown {
    fn figures(&self) -> Value {
        json!({
            "guest": self.guest,
            "prepared_us": self.prepared.as_micros() as u64,
            "cold_start_us": self.cold_start_us,
            "resident_bytes_before": self.resident_before,
            "resident_bytes_ready": self.resident_ready,
            "resident_bytes_connected": self.resident_connected,
            "resident_bytes_called": self.resident_called,
            "in_flight_at_once": if let Calls::Held(in_flight) = self.calls { Some(in_flight) } else { None },
            "called_us": if let Calls::Quick(took) = self.calls { Some(took.as_micros() as u64) } else { None },
        })
    }
}
