//! `wfn rm`: removes an app, after asking.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use ureq::http::Method;
use wfn_runtime::names::AppName;

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
        let removed = global
            .client()?
            .change(Method::DELETE, &app_path(&self.app, ""), &nothing())
            .while_doing(|| format!("remove {}", self.app))?;
        if global.json {
            return output::print_json(&removed);
        }
        output::print(&format!("removed {}", self.app))
    }

    fn ask(&self) -> Done {
        if !io::stdin().is_terminal() {
            return Err(Failure::usage(format!("{} is not removed without being asked for", self.app))
                .remedy(format!("wfn rm {} -y", self.app)));
        }
        // Where stderr is closed nobody sees the question, and nobody answers yes.
        let _ = write!(io::stderr(), "Remove {} with all its revisions? [y/N] ", self.app);
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" if read.is_ok() => Ok(()),
            _ => Err(Failure::new(format!("{} was not removed", self.app))),
        }
    }
}
