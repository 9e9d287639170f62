//! `wfn logs`: what an app has written, and what it goes on writing.

use std::io::{BufRead, BufReader};

use clap::Args;
use wfn_manifest::names::AppName;
use wfn_runtime::meter::log::{LogLine, LogStream};

use crate::client::{Client, app_path, encoded_segment};
use crate::cmd::app_name;
use crate::failure::{Done, Failure, WhileDoing};
use crate::moment::Moment;
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// Go on with new lines
    #[arg(short, long)]
    follow: bool,

    /// The last lines only
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<usize>,

    /// Only lines since then: 10m, 2h, 2026-11-22
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse)]
    since: Option<Moment>,

    /// Only lines in which this text occurs
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// Only lines of stdout, stderr or the host
    #[arg(long, value_name = "STREAM", value_parser = ["stdout", "stderr", "host"])]
    stream: Option<String>,

    /// Only lines of calls that were answered so: 404, 5xx or 400-499
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,

    /// text, or json: one object a line, as with --json
    #[arg(short = 'o', long, value_name = "HOW", value_parser = ["text", "json"])]
    output: Option<String>,
}

impl Logs {
    /// Shows the log.
    pub fn run(self, global: &Global) -> Done {
        let mut query = vec![format!("follow={}", self.follow)];
        query.extend(self.tail.map(|lines| format!("tail={lines}")));
        query.extend(self.since.map(|Moment(since_ms)| format!("since_ms={since_ms}")));
        for (name, value) in [("search", &self.search), ("stream", &self.stream), ("status", &self.status)] {
            query.extend(value.as_ref().map(|value| format!("{name}={}", encoded_segment(value))));
        }
        let (query, as_json) = (query.join("&"), global.json || self.output.as_deref() == Some("json"));
        let show = |line: &LogLine| output::print(&text(line));
        let read = || format!("read the log of {}", self.app);
        each_line(&global.client()?, &self.app, &query, as_json, show).while_doing(read)?;
        match self.follow {
            true => Err(Failure::new("the host has ended the log")).while_doing(read),
            false => Ok(()),
        }
    }
}

/// Shows each line of a log as long as there are lines: as the host sends it, or as `show` does.
pub fn each_line(
    client: &Client,
    app: &AppName,
    query: &str,
    as_json: bool,
    show: impl Fn(&LogLine) -> Done,
) -> Done {
    let stream = client.stream(&app_path(app, &format!("/logs?{query}")))?;
    let is_whole = ["since_ms", "search", "stream", "status"].iter().all(|filter| !query.contains(filter));
    let mut next = None;
    for line in BufReader::new(stream.into_body().into_reader()).lines() {
        let line = line.map_err(|error| Failure::new(format!("the host went away: {error}")))?;
        // An empty line says that the host is still there.
        if line.is_empty() {
            output::end_without_reader();
            continue;
        }
        if as_json {
            output::write((line + "\n").as_bytes())?;
            continue;
        }
        let line: LogLine = serde_json::from_str(&line)
            .map_err(|error| Failure::new(format!("a line is not what this wfn knows: {error}")))?;
        // Where only some are asked for, it is no loss that some are missing.
        if let Some(next) = next.filter(|next| *next < line.sequence && is_whole) {
            output::say(&format!("({} lines were dropped here)", line.sequence - next));
        }
        next = Some(line.sequence + 1);
        show(&line)?;
    }
    Ok(())
}

fn text(line: &LogLine) -> String {
    let invocation = line.invocation.as_deref().unwrap_or("-");
    format!("{} {} {invocation} {}", output::time(line.time_ms), stream_name(line.stream), line.text)
}

/// What a stream is called where it is shown.
pub fn stream_name(stream: LogStream) -> &'static str {
    match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
        LogStream::Host => "host",
    }
}
