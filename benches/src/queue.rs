//! `queue`: orders that are answered when they are durable in a queue, as in the published test of the cloud's plan,
//! and how long the function takes to process all of them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;

use crate::load::Load;
use crate::report::Report;
use crate::table::{Table, decimal, grouped};
use crate::wfn::Host;
use crate::workspace::Workspace;

/// An order as the example takes it.
const ORDER: &str = r#"{"article":"lamp","quantity":1}"#;
/// Longer than any backlog here takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct Queue {
    /// Concurrency of an instance that takes orders, one measurement each
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values_t = [16, 8, 4])]
    concurrency: Vec<u32>,
    /// Clients, each with one order at a time
    #[arg(long, default_value_t = 1_000)]
    clients: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..))]
    seconds: u64,
}

impl Queue {
    /// Runs the bench.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let mut report = Report::begin("queue");
        report.note(format!(
            "the example orders, {} clients for {} s; an order is answered after the commit that holds it",
            self.clients, self.seconds
        ));
        let mut table = Table::new([
            "function",
            "concurrency",
            "orders/s",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "p99.9 ms",
            "failed",
            "backlog at the end",
            "booked after s",
            "instances http",
            "instances function",
        ]);
        let mut figures = Vec::new();
        let body = workspace.results()?.join("order.json");
        std::fs::write(&body, ORDER).context("failed to write the order")?;
        let with_function = workspace.example("orders");
        let without = workspace.results()?.join("intake.toml");
        let module = workspace.guest("orders")?;
        let intake = format!(
            "name = \"orders\"\nmodule = {:?}\nqueues = [\"orders\"]\n",
            module.display().to_string()
        );
        std::fs::write(&without, intake).context("failed to write the manifest")?;
        // The published test ends with the queue. The rows with the function show the processing of orders too.
        let rows = [("none", &without), ("books", &with_function)];
        let rows = rows
            .into_iter()
            .flat_map(|row| self.concurrency.iter().map(move |concurrency| (row, *concurrency)));
        for ((function, manifest), concurrency) in rows {
            let host = Host::start(workspace)?;
            host.deploy(manifest, "orders", &["--concurrency", &concurrency.to_string()])?;
            let load = Load::json(workspace, self.clients, &body)?;
            let load = load.run(&format!("http://{}/orders/orders", host.functions()), self.seconds)?;
            let (ended, backlog) = (Instant::now(), waiting(&host)?);
            while function != "none" && waiting(&host)? > 0 {
                if ended.elapsed() > PATIENCE {
                    bail!("orders are still not booked {} s after the last", PATIENCE.as_secs());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let booked = ended.elapsed();
            let groups = host.command(["status", "orders"])?["groups"].clone();
            let peak = |group: usize| groups[group]["instances_peak"].as_f64().unwrap_or_default();
            table.row([
                function.to_owned(),
                concurrency.to_string(),
                grouped(load.requests_per_second),
                decimal(Some(load.p50_ms)),
                decimal(Some(load.p90_ms)),
                decimal(Some(load.p99_ms)),
                decimal(Some(load.p999_ms)),
                load.errors().to_string(),
                grouped(backlog as f64),
                decimal(Some(booked.as_secs_f64())),
                grouped(peak(0)),
                grouped(peak(1)),
            ]);
            figures.push(json!({
                "function": function,
                "concurrency": concurrency,
                "orders_per_second": load.requests_per_second,
                "p99_ms": load.p99_ms,
                "backlog": backlog,
                "booked_after_s": booked.as_secs_f64(),
            }));
            host.stop()?;
        }
        report.end(workspace, &table, json!({ "rows": figures }))
    }
}

/// Number of orders in the queue.
fn waiting(host: &Host) -> Result<u64> {
    let shown = host.command(["queue", "ls", "orders"])?;
    shown["queues"][0]["messages"].as_u64().context("the queue does not say how many messages it has")
}
