//! `neighbours`: how an app is affected by another one that computes on every core.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;

use crate::client::{Connection, Request};
use crate::load::{Load, Measured};
use crate::report::Report;
use crate::stats::{median, range};
use crate::table::{Table, decimal, grouped};
use crate::wfn::Host;
use crate::workspace::Workspace;

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct Neighbours {
    /// How many calls of the other app compute at once, one measurement each
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values_t = [0, 2, 16])]
    spinning: Vec<usize>,
    /// How often each is measured, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Keep-alive connections of the app that is measured
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
}

impl Neighbours {
    /// Runs the bench: `hello` is measured, while `faults` computes until its deadline and is then called again.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let mut report = Report::begin("neighbours");
        let host = Host::start(workspace)?;
        host.deploy(&workspace.guest("hello")?, "hello", &["--always-ready", "1"])?;
        host.deploy(&workspace.guest("faults")?, "spin", &["--timeout", "500ms"])?;
        let load = Load::new(workspace, self.connections, None)?;
        let url = format!("http://{}/hello/", host.functions());
        let mut measured: Vec<Vec<Measured>> = self.spinning.iter().map(|_| Vec::new()).collect();
        for _ in 0..self.rounds {
            for (&spinning, rounds) in self.spinning.iter().zip(&mut measured) {
                let round = beside(&host, spinning, || load.run(&url, self.seconds))?;
                let (speed, p99) = (grouped(round.requests_per_second), round.p99_ms);
                eprintln!("beside {spinning} that compute: {speed} requests/s, p99 {p99:.2} ms");
                rounds.push(round);
            }
        }
        host.stop()?;
        report.note(format!(
            "hello, {} connections, default settings, {} rounds of {} s, medians (range); beside it calls of another app \
             that compute until their deadline of 500 ms, one after the other on each connection",
            self.connections, self.rounds, self.seconds
        ));
        let mut table =
            Table::new(["computing beside it", "RPS (range)", "p50 ms", "p99 ms (range)", "errors"]);
        let values = |rounds: &[Measured], value: fn(&Measured) -> f64| -> Vec<f64> {
            rounds.iter().map(value).collect()
        };
        for (spinning, rounds) in self.spinning.iter().zip(&measured) {
            let speeds = values(rounds, |round| round.requests_per_second);
            let p99s = values(rounds, |round| round.p99_ms);
            let ((slow, fast), (short, long)) = (range(&speeds), range(&p99s));
            table.row([
                spinning.to_string(),
                format!("{} ({}–{})", grouped(median(&speeds)), grouped(slow), grouped(fast)),
                decimal(Some(median(&values(rounds, |round| round.p50_ms)))),
                format!("{:.2} ({short:.2}–{long:.2})", median(&p99s)),
                rounds.iter().map(Measured::errors).sum::<u64>().to_string(),
            ]);
        }
        let figures = self.spinning.iter().zip(&measured).map(|(spinning, rounds)| {
            json!({
                "spinning": spinning,
                "requests_per_second": values(rounds, |round| round.requests_per_second),
                "p99_ms": values(rounds, |round| round.p99_ms),
            })
        });
        report.end(workspace, &table, json!({ "beside": figures.collect::<Vec<_>>() }))
    }
}

/// Runs `measure` while `spinning` calls compute.
fn beside(host: &Host, spinning: usize, measure: impl FnOnce() -> Result<Measured>) -> Result<Measured> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..spinning).map(|_| scope.spawn(|| spin(host, &done))).collect();
        let measured = measure();
        done.store(true, Ordering::Release);
        for caller in callers {
            match caller.join() {
                Ok(ended) => ended?,
                Err(_) => bail!("a caller panicked"),
            }
        }
        measured
    })
}

fn spin(host: &Host, done: &AtomicBool) -> Result<()> {
    let mut connection = Connection::open(host.functions())?;
    while !done.load(Ordering::Acquire) {
        let (answer, _) = connection.call(&Request::get("/spin/spin"))?;
        if answer.status != 504 {
            bail!("a call that computes for ever was answered {}", answer.status);
        }
    }
    Ok(())
}
