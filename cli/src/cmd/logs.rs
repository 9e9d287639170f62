//! `wfn logs`: what an app has written, and what it goes on writing.

use std::io::{BufRead, BufReader};

use clap::Args;
use wfn_runtime::meter::log::{LogLine, LogStream};
use wfn_runtime::names::AppName;

use crate::client::app_path;
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
        let path = app_path(&self.app, &format!("/logs?follow={}{tail}", self.follow));
        let read = || format!("read the log of {}", self.app);
        let stream = global.client()?.stream(&path).while_doing(read)?;
        let mut next = None;
        for line in BufReader::new(stream.into_body().into_reader()).lines() {
            let line = line.map_err(|error| Failure::new(format!("the host went away: {error}")));
            let line = line.while_doing(read)?;
            // An empty line says that the host is still there.
            if line.is_empty() {
                output::end_without_reader();
                continue;
            }
            if global.json {
                output::write((line + "\n").as_bytes())?;
                continue;
            }
            let line: LogLine = serde_json::from_str(&line)
                .map_err(|error| Failure::new(format!("a line is not what this wfn knows: {error}")))
                .while_doing(read)?;
            if let Some(next) = next.filter(|next| *next < line.sequence) {
                output::say(&format!("({} lines were dropped here)", line.sequence - next));
            }
            next = Some(line.sequence + 1);
            output::print(&text(&line))?;
        }
        match self.follow {
            true => Err(Failure::new("the host has ended the log")).while_doing(read),
            false => Ok(()),
        }
    }
}

fn text(line: &LogLine) -> String {
    let stream = match line.stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
        LogStream::Host => "host",
    };
    let invocation = line.invocation.as_deref().unwrap_or("-");
    format!("{} {stream} {invocation} {}", output::time(line.time_ms), line.text)
}
