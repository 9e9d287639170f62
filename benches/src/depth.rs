//! `depth`: what it costs to send to a queue, and to receive from it, when it already holds many messages.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;

use crate::messages::{self, NAME};
use crate::report::Report;
use crate::stats;
use crate::table::{Table, decimal, grouped};
use crate::wfn::Host;
use crate::workspace::Workspace;

/// The message that is sent.
const MESSAGE: &[u8] = br#"{"article":"lamp","quantity":1}"#;
/// Longer than delivering any of these takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct Depth {
    /// Messages that the queue holds, one measurement each
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values_t = [0, 1_000_000, 0, 1_000_000])]
    depths: Vec<usize>,
    /// Messages that are sent and taken in a measurement
    #[arg(long, default_value_t = 20_000)]
    count: usize,
}

impl Depth {
    /// Runs the bench.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let mut report = Report::begin("depth");
        report
            .note(format!("{} messages sent by 64 connections, and as many taken by a function", self.count));
        let mut table = Table::new(["messages before", "sent/s", "p50 ms", "p99 ms", "taken/s"]);
        let mut figures = Vec::new();
        for &depth in &self.depths {
            let host = Host::start(workspace)?;
            messages::deploy(workspace, &host, "hello", "", 10)?;
            messages::send(&host, MESSAGE, depth)?;
            let begun = Instant::now();
            let times = stats::microseconds(&messages::send(&host, MESSAGE, self.count)?);
            let sent = self.count as f64 / begun.elapsed().as_secs_f64();
            let taken = self.take(workspace, &host)?;
            let ms = |share: f64| stats::quantile(&times, share) / 1_000.0;
            let (p50, p99) = (ms(0.5), ms(0.99));
            table.row([
                grouped(depth as f64),
                grouped(sent),
                decimal(Some(p50)),
                decimal(Some(p99)),
                grouped(taken),
            ]);
            figures.push(json!({ "depth": depth, "sent_per_second": sent, "p50_ms": p50, "p99_ms": p99, "taken_per_second": taken }));
            host.stop()?;
        }
        report.end(workspace, &table, json!({ "rows": figures }))
    }

    /// Lets a function take messages. Returns how many it takes per second.
    fn take(&self, workspace: &Workspace, host: &Host) -> Result<f64> {
        let trigger = format!("[[trigger.queue]]\nname = {NAME:?}\npath = \"/\"\n");
        messages::deploy(workspace, host, "hello", &trigger, 10)?;
        let begun = Instant::now();
        let mut admin = host.admin()?;
        loop {
            let app = admin.get(&format!("/v1/apps/{NAME}"))?;
            let taken = app["groups"][messages::GROUP]["invocations"].as_u64();
            if let Some(taken) = taken.filter(|taken| *taken >= self.count as u64) {
                return Ok(taken as f64 / begun.elapsed().as_secs_f64());
            }
            if begun.elapsed() > PATIENCE {
                bail!("the messages are still not taken after {} s", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
