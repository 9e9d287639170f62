//! `wfn split`: a second revision takes a percentage of the HTTP requests.

use clap::Args;
use serde_json::{Value, json};
use ureq::http::Method;
use wfn_manifest::names::AppName;
use wfn_runtime::app::share::Portion;

use crate::client::app_path;
use crate::cmd::{app_name, text_of, url};
use crate::failure::{Done, WhileDoing};
use crate::flags::bounded;
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn split`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each request is divided by itself, whoever sends it: of any hundred, exactly PERCENT go to the second revision.
Timers, queues, blob events and host names stay with the active revision. 'wfn deploy' and 'wfn rollback' end a
split; 'wfn scale' and 'wfn secret' go on with it.")]
pub struct Split {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// How many of a hundred HTTP requests the second revision takes: 0 ends the split, at 100 it becomes the active one
    #[arg(value_name = "PERCENT", value_parser = bounded::<0, 100>, allow_negative_numbers = true)]
    percent: Portion,

    /// The second revision [default: the one in the split, or else the latest, if it came after the active one]
    #[arg(long, value_name = "REV")]
    revision: Option<u32>,
}

impl Split {
    /// Changes who takes what.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        let mut done = client
            .change(
                Method::POST,
                &app_path(&self.app, "/split"),
                &json!({ "percent": self.percent, "revision": self.revision }),
            )
            .while_doing(|| format!("split {}", self.app))?;
        let url = url(&client.functions()?, &done);
        if global.json {
            done["url"] = url.into();
            return output::print_json(&done);
        }
        output::print(&format!(
            "{} serves revision {}{}: {url}",
            self.app,
            text_of(&done["active"]),
            beside(&done)
        ))
    }
}

/// What the answer to a change says of a split that is on, and of one that has ended; nothing where there is none.
pub fn beside(done: &Value) -> String {
    let (split, ended) = (&done["split"], &done["split_ended"]);
    let mut text = String::new();
    if !split.is_null() {
        let (revision, percent) = (text_of(&split["revision"]), text_of(&split["percent"]));
        text += &format!(", revision {revision} takes {percent} % of the HTTP requests");
    }
    if !ended.is_null() {
        text += &format!(", the split with revision {} has ended", text_of(ended));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_of_a_split_and_of_its_end() {
        let on = json!({ "split": { "revision": 4, "percent": 10 }, "split_ended": null });
        assert_eq!(beside(&on), ", revision 4 takes 10 % of the HTTP requests");
        let ended = json!({ "split": null, "split_ended": 4 });
        assert_eq!(beside(&ended), ", the split with revision 4 has ended");
        assert_eq!(beside(&json!({ "revision": 4 })), "");
    }
}
