//! `wfn invocations`: the latest calls of an app, one by one.

use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use wfn_manifest::names::AppName;

use crate::client::{Client, app_path, encoded_segment};
use crate::cmd::{app_name, text_of};
use crate::failure::{Done, WhileDoing};
use crate::moment::Moment;
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn invocations`.
#[derive(Debug, Args)]
#[command(
    after_help = "The host keeps all calls of an app up to 25 a second, and samples of more; failed ones apart.\n\
                        'wfn invocations APP -n 1 --failed' shows the last failure with the guest's backtrace."
)]
pub struct Invocations {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// At most so many, the latest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,

    /// Go on with new ones
    #[arg(short, long)]
    follow: bool,

    /// Only those that failed, with the reason
    #[arg(long)]
    failed: bool,

    /// Only those that ended so: answered, throttled, timed-out, trapped, …
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,

    /// Only those with this status: 404, 5xx or 400-499
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,

    /// Only those since then: 10m, 2h, 2026-11-22
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse)]
    since: Option<Moment>,
}

/// How often new ones are asked for.
const PERIOD: Duration = Duration::from_millis(500);

const HEAD: [&str; 10] =
    ["TIME", "INVOCATION", "REQUEST", "STATUS", "OUTCOME", "WAITED", "STARTED", "RAN", "CPU", "ONE OF"];

impl Invocations {
    /// Shows them.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        let mut found = self.ask(&client, &format!("limit={}", self.limit))?;
        let mut head = HEAD.as_slice();
        loop {
            let calls = found["invocations"].as_array().cloned().unwrap_or_default();
            if global.json {
                // The oldest first, one a line, as with logs.
                for call in calls.iter().rev() {
                    output::print_json(call)?;
                }
            } else if !calls.is_empty() || !self.follow {
                output::print(&self.shown(&calls, head))?;
                head = &[];
            }
            if !self.follow {
                return Ok(());
            }
            thread::park_timeout(PERIOD);
            output::end_without_reader();
            let newest = calls.first().and_then(|call| call["sequence"].as_u64());
            let after = newest.or(found["after"].as_u64());
            found = self.ask(&client, &after.map_or(String::new(), |after| format!("after={after}")))?;
            found["after"] = after.into();
        }
    }

    fn ask(&self, client: &Client, which: &str) -> Done<Value> {
        let mut query = vec![which.to_owned()];
        query.extend(self.failed.then(|| "failed=true".to_owned()));
        let text = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("{name}={}", encoded_segment(value)))
        };
        query.extend(text("outcome", &self.outcome));
        query.extend(text("status", &self.status));
        query.extend(self.since.map(|Moment(since_ms)| format!("since_ms={since_ms}")));
        query.retain(|part| !part.is_empty());
        let path = app_path(&self.app, &format!("/invocations?{}", query.join("&")));
        client.get(&path).while_doing(|| format!("look at the calls of {}", self.app))
    }

    /// A table, the latest last, and the reasons of those that failed if only those are asked for.
    fn shown(&self, calls: &[Value], head: &[&str]) -> String {
        if calls.is_empty() {
            return "the host keeps no such call".to_owned();
        }
        let rows: Vec<_> = calls.iter().rev().map(row).collect();
        let table = output::table(&HEAD, &rows);
        let mut lines = table.lines();
        let shown_head = lines.next().filter(|_| !head.is_empty());
        let mut text: Vec<String> = shown_head.into_iter().map(str::to_owned).collect();
        for (line, call) in lines.zip(calls.iter().rev()) {
            text.push(line.to_owned());
            let detail = call["detail"].as_str().filter(|_| self.failed).unwrap_or_default();
            text.extend(detail.lines().map(|line| format!("    {line}")));
        }
        text.join("\n")
    }
}

fn row(call: &Value) -> Vec<String> {
    let took = |key: &str| call[key].as_u64().map_or("-".to_owned(), output::microseconds);
    let started = match call["cold"] == true {
        true => format!("{} cold", took("started_us")),
        false => took("started_us"),
    };
    vec![
        call["time_ms"].as_u64().map_or("-".to_owned(), output::time),
        text_of(&call["invocation"]),
        format!("{} {}", text_of(&call["method"]), text_of(&call["path"])),
        text_of(&call["status"]),
        text_of(&call["outcome"]),
        took("waited_us"),
        started,
        took("ran_us"),
        took("cpu_us"),
        text_of(&call["sample_rate"]),
    ]
}
