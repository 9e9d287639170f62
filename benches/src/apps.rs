//! `apps`: the same load on one app, on a hundred and on a thousand, and what each further app costs the others.

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;

use crate::load::{Load, Measured, app_name};
use crate::report::Report;
use crate::stats::{median, range};
use crate::table::{Table, decimal, grouped};
use crate::wfn::Host;
use crate::workspace::Workspace;

/// Length of the load before the measured ones, in seconds. In it every app gets its instance.
const WARM_UP_SECONDS: u64 = 2;

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct Apps {
    /// How many apps the load is spread over, one measurement each
    #[arg(long, default_values_t = [1, 100, 1_000], num_args = 1.., value_delimiter = ',', value_name = "N")]
    apps: Vec<u32>,
    /// How often each is measured, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Keep-alive connections, each with one request at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Which guest of target/guests/ they all are
    #[arg(long, default_value = "hello")]
    guest: String,
}

impl Apps {
    /// Runs the bench: one host has all apps, and some or all of them are called.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let mut report = Report::begin("apps");
        let module = workspace.guest(&self.guest)?;
        let most = self.apps.iter().copied().max().context("there is nothing to measure")?;
        // An app may need more than one instance for a moment.
        let host = Host::start_for(workspace, u64::from(most) * 2)?;
        for number in 0..most {
            host.deploy(&module, &app_name(number), &[])?;
        }
        let url = format!("http://{}/", host.functions());
        let loads = self.apps.iter().map(|&apps| Load::over_apps(workspace, self.connections, apps));
        let loads: Vec<Load> = loads.collect::<Result<_>>()?;
        for load in &loads {
            load.run(&url, WARM_UP_SECONDS)?;
        }
        let mut measured: Vec<Vec<Measured>> = self.apps.iter().map(|_| Vec::new()).collect();
        for number in 1..=self.rounds {
            for ((apps, load), rounds) in self.apps.iter().zip(&loads).zip(&mut measured) {
                let round = load.run(&url, self.seconds)?;
                let speed = grouped(round.requests_per_second);
                eprintln!("round {number} of {}: {apps} apps: {speed} requests/s", self.rounds);
                rounds.push(round);
            }
        }
        let resident = host.server().resident_bytes()?;
        host.stop()?;
        report.note(format!(
            "{most} apps deployed ({}), {} connections, {} rounds of {} s, medians (range); {:.0} MB resident at the end",
            self.guest,
            self.connections,
            self.rounds,
            self.seconds,
            resident as f64 / 1e6
        ));
        let mut table =
            Table::new(["apps called", "RPS (range)", "p50 ms", "p99 ms", "errors", "/ the first"]);
        let values = |rounds: &[Measured], value: fn(&Measured) -> f64| -> Vec<f64> {
            rounds.iter().map(value).collect()
        };
        let speed = |rounds: &[Measured]| values(rounds, |round| round.requests_per_second);
        let first = measured.first().map(|rounds| median(&speed(rounds)));
        for (apps, rounds) in self.apps.iter().zip(&measured) {
            let (low, high) = range(&speed(rounds));
            let own = median(&speed(rounds));
            table.row([
                apps.to_string(),
                format!("{} ({}–{})", grouped(own), grouped(low), grouped(high)),
                decimal(Some(median(&values(rounds, |round| round.p50_ms)))),
                decimal(Some(median(&values(rounds, |round| round.p99_ms)))),
                rounds.iter().map(Measured::errors).sum::<u64>().to_string(),
                decimal(first.map(|first| own / first)),
            ]);
        }
        let figures = self.apps.iter().zip(&measured).map(|(apps, rounds)| {
            json!({ "apps": apps, "requests_per_second": speed(rounds), "p99_ms": values(rounds, |round| round.p99_ms) })
        });
        report.end(workspace, &table, json!({ "loads": figures.collect::<Vec<_>>() }))
    }
}
