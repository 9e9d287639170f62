//! `wfn logs`: what an app has written, and what it goes on writing.

use std::io::{BufRead, BufReader};

use clap::Args;
use wfn_runtime::meter::log::{LogLine, LogStream};
use wfn_runtime::names::AppName;

use crate::client::{Client, app_path};
use crate::cmd::app_name;
use crate::failure::{Done, Failure, WhileDoing};
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
}

impl Logs {
    /// Shows the log.
    pub fn run(self, global: &Global) -> Done {
        let tail = self.tail.map_or(String::new(), |lines| format!("&tail={lines}"));
        let query = format!("follow={}{tail}", self.follow);
        let show = |line: &LogLine| output::print(&text(line));
        let read = || format!("read the log of {}", self.app);
        each_line(&global.client()?, &self.app, &query, global.json, show).while_doing(read)?;
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
        if let Some(next) = next.filter(|next| *next < line.sequence) {
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
