//! Shows what a function writes, line by line, among the lines of `wfn dev`.

use std::io::{self, IsTerminal};
use std::thread::{self, JoinHandle};

use wfn_manifest::names::AppName;
use wfn_runtime::meter::log::{LogLine, LogStream};

use crate::client::Client;
use crate::cmd::logs;
use crate::failure::{Done, Failure};
use crate::output;

/// Follows one app's log on a thread of its own, until the host ends.
pub struct Follower {
    client: Client,
    name: AppName,
    as_json: bool,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Will follow the log of `name`.
    pub fn new(client: Client, name: AppName, as_json: bool) -> Self {
        Self { client, name, as_json, thread: None }
    }

    /// Follows from now on, if it does not yet: there is no log before the first deploy.
    pub fn start(&mut self) -> Done {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Ok(());
        }
        let (client, name, as_json) = (self.client.clone(), self.name.clone(), self.as_json);
        let follow = move || {
            let coloured = io::stdout().is_terminal();
            let show = |line: &LogLine| {
                let prefix = prefix(&name, line.stream, coloured);
                output::write(format!("{prefix} {}\n", output::plain(&line.text)).as_bytes())
            };
            // The log ends with the host, and so does this process.
            let _ = logs::each_line(&client, &name, "follow=true", as_json, show);
        };
        let thread = thread::Builder::new().name("log".to_owned()).spawn(follow);
        self.thread = Some(thread.map_err(|error| Failure::new(format!("the log is not shown: {error}")))?);
        Ok(())
    }
}

/// `[hello stderr]`; on a terminal the stream is a colour.
fn prefix(name: &AppName, stream: LogStream, coloured: bool) -> String {
    let shown = logs::stream_name(stream);
    let colour = match stream {
        LogStream::Stdout => 36,
        LogStream::Stderr => 33,
        LogStream::Host => 31,
    };
    match coloured {
        true => format!("\x1b[{colour}m[{name} {shown}]\x1b[0m"),
        false => format!("[{name} {shown}]"),
    }
}
