//! `wfn trigger`: what calls the functions of an app besides HTTP.

use clap::{Args, Subcommand};
use serde_json::Value;
use ureq::http::Method;
use wfn_manifest::names::AppName;

use crate::client::{Client, app_path, encoded_segment, nothing};
use crate::cmd::{app_name, text_of};
use crate::failure::{Done, Failure, WhileDoing};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn trigger`.
#[derive(Debug, Args)]
#[command(
    after_help = "An app has the functions that its wfn.toml names as [[trigger.queue]], [[trigger.blob]] and \
                        [[trigger.timer]]."
)]
pub struct Triggers {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the functions that triggers call, and when timers run
    Ls(List),
    /// Run a timer function now, and wait until it has ended
    Fire(Fire),
}

#[derive(Debug, Args)]
struct List {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,
}

#[derive(Debug, Args)]
#[command(after_help = "The schedule of the function goes on as if nothing had been.")]
struct Fire {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// One of its timer functions
    #[arg(value_name = "FUNCTION")]
    function: String,
}

impl Triggers {
    /// Does it.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        match &self.action {
            Action::Ls(List { app }) => {
                list(&client, app, global.json).while_doing(|| format!("list the triggers of {app}"))
            }
            Action::Fire(fire) => {
                fire.run(&client, global.json).while_doing(|| format!("fire {}", fire.function))
            }
        }
    }
}

fn list(client: &Client, app: &AppName, as_json: bool) -> Done {
    let shown = client.get(&app_path(app, "/triggers"))?;
    if as_json {
        return output::print_json(&shown);
    }
    let triggers = shown["triggers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let time = |value: &Value| value.as_u64().map_or("-".to_owned(), output::time);
    let row = |trigger: &Value| {
        let source = match text_of(&trigger["kind"]).as_str() {
            "timer" => format!("{} {}", text_of(&trigger["schedule"]), text_of(&trigger["time_zone"])),
            "blob" => {
                let affix = |name: &str| trigger[name].as_str().unwrap_or_default().to_owned();
                format!("{}/{}*{}", text_of(&trigger["container"]), affix("prefix"), affix("suffix"))
            }
            _ => text_of(&trigger["queue"]),
        };
        vec![
            text_of(&trigger["function"]),
            text_of(&trigger["kind"]),
            source,
            time(&trigger["last_ms"]),
            time(&trigger["next_ms"]),
            trigger["last_error"].as_str().unwrap_or_default().to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = triggers.iter().map(row).collect();
    output::print(&output::table(&["FUNCTION", "KIND", "SOURCE", "LAST", "NEXT", "LAST ERROR"], &rows))
}

impl Fire {
    fn run(&self, client: &Client, as_json: bool) -> Done {
        let path = app_path(&self.app, &format!("/triggers/{}/fire", encoded_segment(&self.function)));
        let fired = client.change(Method::POST, &path, &nothing())?;
        let error = fired["error"].as_str();
        if as_json {
            output::print_json(&fired)?;
        } else if error.is_none() {
            let (invocation, ms) = (text_of(&fired["invocation"]), text_of(&fired["ms"]));
            output::print(&format!("{} has run in {ms} ms, invocation {invocation}", self.function))?;
        }
        match error {
            Some(error) => {
                Err(Failure::new(format!("it failed: {error} ('wfn logs {}' may say more)", self.app))
                    .with_code("run-failed"))
            }
            None => Ok(()),
        }
    }
}
