//! `wfn versions`: the kept revisions of an app.

use clap::Args;
use serde_json::Value;
use wfn_manifest::manifest::ScaleSettings;
use wfn_manifest::names::AppName;

use crate::client::app_path;
use crate::cmd::{app_name, text_of};
use crate::failure::{Done, WhileDoing};
use crate::settings::Global;
use crate::{flags, output};

/// Arguments of `wfn versions`.
#[derive(Debug, Args)]
pub struct Versions {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,
}

impl Versions {
    /// Lists the revisions, the latest first.
    pub fn run(self, global: &Global) -> Done {
        let listed = global
            .client()?
            .get(&app_path(&self.app, "/revisions"))
            .while_doing(|| format!("list the revisions of {}", self.app))?;
        if global.json {
            return output::print_json(&listed);
        }
        let rows: Vec<_> = listed["revisions"].as_array().into_iter().flatten().map(row).collect();
        output::print(&output::table(&["REVISION", "STATE", "KIND", "MADE", "MODULE", "SETTINGS"], &rows))
    }
}

fn row(revision: &Value) -> Vec<String> {
    let settings: Option<ScaleSettings> = serde_json::from_value(revision["manifest"]["scale"].clone()).ok();
    vec![
        text_of(&revision["revision"]),
        match revision["percent"].as_u64() {
            Some(100) => "serves".to_owned(),
            None | Some(0) => "kept".to_owned(),
            Some(percent) => format!("serves {percent} %"),
        },
        text_of(&revision["kind"]),
        revision["created_ms"].as_u64().map_or("-".to_owned(), output::time),
        text_of(&revision["module"]).chars().take(12).collect(),
        settings.map(|settings| flags::shown(&settings)).unwrap_or_default(),
    ]
}
