//! `cold-start`: the time of a request that finds no instance, as the host and as the caller measure it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::client::{Connection, Request};
use crate::report::Report;
use crate::stats::{microseconds, quantile};
use crate::table::Table;
use crate::wfn::Host;
use crate::workspace::Workspace;

/// Arguments of the bench.
#[derive(Debug, Args)]
pub struct ColdStart {
    /// How many first requests for each guest, each to an app of its own
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    count: u32,
    /// Which guests of target/guests/
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values = ["hello", "echo", "html-parse"])]
    guests: Vec<String>,
}

/// The results of one guest, in microseconds.
#[derive(Debug)]
struct Shown {
    guest: String,
    /// From the decision to create an instance until it can take an invocation, measured by the host.
    host: Vec<f64>,
    first: Vec<f64>,
    warm: Vec<f64>,
}

impl ColdStart {
    /// Runs the bench.
    pub fn run(&self, workspace: &Workspace) -> Result<()> {
        let mut report = Report::begin("cold-start");
        report.note(format!(
            "{} apps for each guest, none with an instance; one keep-alive connection calls each twice; \
             the parsers and go-digest get a POST of 73 KB",
            self.count
        ));
        let shown =
            self.guests.iter().map(|guest| self.show(workspace, guest)).collect::<Result<Vec<_>>>()?;
        let mut table = Table::new([
            "guest",
            "host: p50 µs",
            "p99 µs",
            "max µs",
            "first request: p50 µs",
            "p99 µs",
            "warm request: p50 µs",
            "p99 µs",
            "difference p50 µs",
        ]);
        for shown in &shown {
            let figure = |values: &[f64], share| format!("{:.1}", quantile(values, share));
            table.row([
                shown.guest.clone(),
                figure(&shown.host, 0.5),
                figure(&shown.host, 0.99),
                figure(&shown.host, 1.0),
                figure(&shown.first, 0.5),
                figure(&shown.first, 0.99),
                figure(&shown.warm, 0.5),
                figure(&shown.warm, 0.99),
                format!("{:.1}", quantile(&shown.first, 0.5) - quantile(&shown.warm, 0.5)),
            ]);
        }
        let figures = shown.iter().map(|shown| {
            json!({
                "guest": shown.guest,
                "host_us": shown.host,
                "first_request_us": shown.first,
                "warm_request_us": shown.warm,
            })
        });
        let figures = json!({ "count": self.count, "guests": figures.collect::<Vec<_>>() });
        report.end(workspace, &table, figures)
    }

    fn show(&self, workspace: &Workspace, guest: &str) -> Result<Shown> {
        let module = workspace.guest(guest)?;
        let body = match guest {
            // html-parse and go-digest want a page.
            _ if guest.ends_with("html-parse") || guest == "go-digest" => {
                Some(std::fs::read(workspace.page()).context("failed to read the page")?)
            }
            _ => None,
        };
        let host = Host::start_for(workspace, u64::from(self.count) + 1)?;
        // The idle timeout is longer than the bench takes, because a second call must find the instance of the first.
        // The instance has free slots, because a guest goes on for a moment after its response has ended. At a
        // concurrency of 1, a second call that comes before that would get an instance of its own.
        let flags = ["--always-ready", "0", "--idle-timeout", "1h", "--concurrency", "16"];
        host.deploy(&module, "first", &flags)?;
        for number in 0..self.count {
            host.deploy(&module, &app(number), &flags)?;
        }
        let mut connection = Connection::open_when_ready(host.functions())?;
        let mut call = |app: &str| -> Result<Duration> {
            let request = Request { path: format!("/{app}/"), body: body.clone(), token: None };
            let (answer, took) = connection.call(&request)?;
            answer.ok()?;
            Ok(took)
        };
        // Warms the connection and the guest's code, but not the apps.
        for _ in 0..10 {
            call("first")?;
        }
        let (mut first, mut warm) = (Vec::new(), Vec::new());
        for number in 0..self.count {
            first.push(call(&app(number))?);
            warm.push(call(&app(number))?);
        }
        let listed = host.command(["ls"])?;
        host.stop()?;
        let apps = listed["apps"].as_array().context("'wfn ls' shows no apps")?;
        let cold = apps.iter().filter(|app| app["app"] != "first").map(cold_start);
        let host = cold.collect::<Result<Vec<_>>>()?;
        Ok(Shown { guest: guest.to_owned(), host, first: microseconds(&first), warm: microseconds(&warm) })
    }
}

fn app(number: u32) -> String {
    format!("cold-{number}")
}

/// Time of the one cold start of an app, in microseconds.
fn cold_start(app: &Value) -> Result<f64> {
    let group = &app["groups"][0];
    if group["cold"] != 1 {
        bail!("app {} had {} cold starts, not 1", app["app"], group["cold"]);
    }
    group["cold_start_us"]["max"].as_f64().context("the status does not say cold_start_us")
}
