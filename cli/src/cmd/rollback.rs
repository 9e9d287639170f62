//! `wfn rollback`: an earlier revision serves again.

use clap::Args;
use serde_json::json;
use ureq::http::Method;
use wfn_manifest::names::AppName;

use crate::client::app_path;
use crate::cmd::split::beside;
use crate::cmd::{app_name, text_of, url};
use crate::failure::{Done, WhileDoing};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// The revision to go to [default: the one before that which serves; in a split the active one, alone]
    #[arg(value_name = "REV")]
    revision: Option<u32>,
}

impl Rollback {
    /// Goes back.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        let mut deployed = client
            .change(Method::POST, &app_path(&self.app, "/rollback"), &json!({ "revision": self.revision }))
            .while_doing(|| format!("roll back {}", self.app))?;
        let url = url(&client.functions()?, &deployed);
        if global.json {
            deployed["url"] = url.into();
            return output::print_json(&deployed);
        }
        let (revision, kind) = (text_of(&deployed["revision"]), text_of(&deployed["kind"]));
        let ended = beside(&deployed);
        output::print(&format!("{} serves revision {revision} ({kind}) again{ended}: {url}", self.app))
    }
}
