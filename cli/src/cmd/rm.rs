//! `wfn rm`: removes an app, after asking.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use ureq::http::Method;
use wfn_manifest::names::AppName;

use crate::client::{app_path, nothing};
use crate::cmd::app_name;
use crate::failure::{Done, Failure, WhileDoing};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// Remove what it has stored, too; without this a later app of that name has it
    #[arg(long)]
    with_data: bool,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Rm {
    /// Removes the app.
    pub fn run(self, global: &Global) -> Done {
        if !self.yes {
            self.ask()?;
        }
        let query = if self.with_data { "?with_data=true" } else { "" };
        let removed = global
            .client()?
            .change(Method::DELETE, &app_path(&self.app, query), &nothing())
            .while_doing(|| format!("remove {}", self.app))?;
        if global.json {
            return output::print_json(&removed);
        }
        output::print(&format!("removed {}", self.app))?;
        let kept = |what: &str| removed["kept"][what].as_u64().unwrap_or_default();
        let keys = format!("{} keys, {}", kept("keys"), output::bytes(kept("bytes")));
        let blobs = format!("{} blobs, {}", kept("blobs"), output::bytes(kept("blob_bytes")));
        let messages = format!("{} messages", kept("messages"));
        let stored: Vec<String> =
            [(kept("keys"), keys), (kept("blobs"), blobs), (kept("messages"), messages)]
                .into_iter()
                .filter_map(|(count, text)| (count > 0).then_some(text))
                .collect();
        if !stored.is_empty() {
            output::say(&format!("what it has stored is kept: {}", stored.join("; ")));
            output::say(&format!("try: wfn rm {} --with-data, if nobody needs it", self.app));
        }
        Ok(())
    }

    fn ask(&self) -> Done {
        if !io::stdin().is_terminal() {
            return Err(Failure::usage(format!("{} is not removed without being asked for", self.app))
                .remedy(format!(
                    "wfn rm {}{} -y",
                    self.app,
                    if self.with_data { " --with-data" } else { "" }
                )));
        }
        let data = if self.with_data { " and all it has stored" } else { "" };
        // Where stderr is closed nobody sees the question, and nobody answers yes.
        let _ = write!(io::stderr(), "Remove {} with all its revisions{}? [y/N] ", self.app, data);
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" if read.is_ok() => Ok(()),
            _ => Err(Failure::new(format!("{} was not removed", self.app))),
        }
    }
}
