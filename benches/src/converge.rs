//! `converge`: a queue drained with some fixed concurrencies, and with the one that the host finds.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;

use crate::messages::{self, NAME};
use crate::report::Report;
use crate::table::{Table, decimal, grouped};
use crate::wfn::Host;
use crate::workspace::Workspace;

/// Longer than any queue here takes.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// Bytes of the page that the computing function parses.
const PAGE_BYTES: usize = 32 * 1024;

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct Converge {
    /// Messages for the function that waits
    #[arg(long, default_value_t = 20_000)]
    waiting: usize,
    /// Messages for the function that computes
    #[arg(long, default_value_t = 5_000)]
    computing: usize,
    /// Messages that the function that waits learns from, before it is measured with dynamic concurrency: a queue of it is
    /// over in the time of one or two steps
    #[arg(long, default_value_t = 800_000)]
    lessons: usize,
    /// Milliseconds that a message waits
    #[arg(long, default_value_t = 200)]
    wait_ms: u64,
    /// Fixed concurrencies of an instance to compare with
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values_t = [4, 16, 64, 128])]
    fixed: Vec<u32>,
    /// Instances
    #[arg(long, default_value_t = 10)]
    instances: u32,
    /// Queues that are drained one after the other with dynamic concurrency; each goes on from what the one before found
    #[arg(long, default_value_t = 4)]
    dynamic: usize,
}

/// A function and its messages.
struct Work {
    name: &'static str,
    guest: &'static str,
    path: String,
    message: Vec<u8>,
    count: usize,
    lessons: usize,
}

impl Converge {
    /// Runs the bench.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let mut report = Report::begin("converge");
        report.note(format!("messages of a queue by {} instances at most", self.instances));
        let page = std::fs::read(workspace.page()).context("failed to read the page")?;
        let page = page[..page.len().min(PAGE_BYTES)].to_vec();
        let path = format!("/wait?ms={}", self.wait_ms);
        let all = [
            Work {
                name: "waits",
                guest: "async-faults",
                path,
                message: b"x".to_vec(),
                count: self.waiting,
                lessons: self.lessons,
            },
            Work {
                name: "computes",
                guest: "html-parse",
                path: "/".to_owned(),
                message: page,
                count: self.computing,
                lessons: 0,
            },
        ];
        let mut table = Table::new([
            "function",
            "messages",
            "concurrency",
            "messages/s",
            "of the best fixed",
            "instances",
        ]);
        let mut figures = Vec::new();
        for work in all {
            let mut best = 0.0_f64;
            let mut add = |concurrency: String, rate: f64, best: f64, instances: f64| {
                table.row([
                    work.name.to_owned(),
                    grouped(work.count as f64),
                    concurrency.clone(),
                    grouped(rate),
                    decimal(Some(rate / best)),
                    grouped(instances),
                ]);
                figures.push(json!({ "function": work.name, "concurrency": concurrency, "messages_per_second": rate, "of_best": rate / best }));
            };
            let mut fixed = Vec::new();
            for &concurrency in &self.fixed {
                let host = Host::start(workspace)?;
                let settings = format!("batch_size = {concurrency}\nnew_batch_threshold = 0\n");
                let (rate, instances) = self.drain(workspace, &host, &work, work.count, &settings)?;
                host.stop()?;
                best = best.max(rate);
                fixed.push((concurrency, rate, instances));
            }
            for (concurrency, rate, instances) in fixed {
                add(concurrency.to_string(), rate, best, instances);
            }
            let host = Host::start(workspace)?;
            let dynamic = "concurrency = \"dynamic\"\n";
            if work.lessons > 0 {
                let (rate, instances) = self.drain(workspace, &host, &work, work.lessons, dynamic)?;
                let found = group(&host)?["concurrency"].as_u64().unwrap_or_default();
                add(
                    format!("dynamic, {} to learn from: {found} at the end", work.lessons),
                    rate,
                    best,
                    instances,
                );
            }
            for round in 1..=self.dynamic {
                let (rate, instances) = self.drain(workspace, &host, &work, work.count, dynamic)?;
                let found = group(&host)?["concurrency"].as_u64().unwrap_or_default();
                add(format!("dynamic, queue {round}: {found} at its end"), rate, best, instances);
            }
            host.stop()?;
        }
        report.end(workspace, &table, json!({ "rows": figures }))
    }

    /// Fills the queue, then lets the function take the messages. Returns messages per second, and the most instances.
    fn drain(
        &self,
        workspace: &Workspace,
        host: &Host,
        work: &Work,
        count: usize,
        settings: &str,
    ) -> Result<(f64, f64)> {
        messages::deploy(workspace, host, work.guest, "", self.instances)?;
        messages::send(host, &work.message, count)?;
        let trigger = format!("[[trigger.queue]]\nname = {NAME:?}\npath = {:?}\n{settings}", work.path);
        messages::deploy(workspace, host, work.guest, &trigger, self.instances)?;
        let begun = Instant::now();
        let mut admin = host.admin()?;
        loop {
            let shown = admin.get(&format!("/v1/apps/{NAME}/queues"))?;
            if shown["queues"][0]["messages"] == 0 {
                break;
            }
            if begun.elapsed() > PATIENCE {
                bail!("the queue is still not empty after {} s", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        Ok((rate, group(host)?["instances_peak"].as_f64().unwrap_or_default()))
    }
}

/// The scale group of the function.
fn group(host: &Host) -> Result<serde_json::Value> {
    Ok(host.command(["status", NAME])?["groups"][messages::GROUP].clone())
}
