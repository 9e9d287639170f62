//! `wfn scale`: other scale settings for an app, without a new module.

use clap::Args;
use serde_json::json;
use ureq::http::Method;
use wfn_manifest::manifest::ScaleSettings;
use wfn_manifest::names::AppName;

use crate::client::app_path;
use crate::cmd::split::beside;
use crate::cmd::{app_name, text_of};
use crate::failure::{Done, Failure, WhileDoing};
use crate::flags::{self, ScaleFlags};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn scale`.
#[derive(Debug, Args)]
#[command(
    after_help = "What no flag names stays as it is. The next 'wfn deploy' goes by its own flags and wfn.toml again."
)]
pub struct Scale {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    #[command(flatten)]
    scale: ScaleFlags,
}

impl Scale {
    /// Changes the settings.
    pub fn run(self, global: &Global) -> Done {
        let changes = self.scale.settings();
        if changes == ScaleSettings::default() {
            return Err(Failure::usage(format!("nothing to change in {}", self.app)).remedy(format!(
                "wfn scale {} --always-ready 1; 'wfn scale --help' lists the others",
                self.app
            )));
        }
        let deployed = global
            .client()?
            .change(Method::PATCH, &app_path(&self.app, "/scale"), &json!(changes))
            .while_doing(|| format!("scale {}", self.app))?;
        if global.json {
            return output::print_json(&deployed);
        }
        let revision = text_of(&deployed["revision"]);
        let (settings, beside) = (flags::shown(&changes), beside(&deployed));
        output::print(&format!("scaled {} revision {revision}: {settings}{beside}", self.app))
    }
}
