//! `wfn usage`: what apps have used, and what that costs.

use clap::Args;
use serde_json::Value;
use wfn_manifest::names::AppName;

use crate::client::app_path;
use crate::cmd::{app_name, text_of};
use crate::failure::{Done, WhileDoing};
use crate::moment::Moment;
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn usage`.
#[derive(Debug, Args)]
#[command(
    after_help = "An instance is billed while at least one call runs in it, for a second at least; calls that run at\n\
                  once in it are billed once. 'wfn up --prices' sets the prices."
)]
pub struct Usage {
    /// Name of an app, also of one that was removed [default: all]
    #[arg(value_name = "APP", value_parser = app_name)]
    app: Option<AppName>,

    /// From then on, by the hour: 2h, 7d, 2026-11-22 [default: the first of this month]
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse)]
    since: Option<Moment>,
}

impl Usage {
    /// Shows it.
    pub fn run(self, global: &Global) -> Done {
        let Moment(since_ms) = self.since.unwrap_or_else(Moment::of_this_month);
        let path = match &self.app {
            Some(app) => app_path(app, &format!("/usage?since_ms={since_ms}")),
            None => format!("/v1/usage?since_ms={since_ms}"),
        };
        let used = global.client()?.get(&path).while_doing(|| "ask what was used".to_owned())?;
        if global.json {
            return output::print_json(&used);
        }
        output::print(&shown(&used))
    }
}

fn shown(used: &Value) -> String {
    let list = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let apps = list(used, "apps");
    let since = used["since_ms"].as_u64().map_or("-".to_owned(), output::time);
    if apps.is_empty() {
        return format!("nothing was used since {since}");
    }
    let mut rows = Vec::new();
    for app in &apps {
        for group in list(app, "groups") {
            rows.push(row(&text_of(&app["app"]), &text_of(&group["group"]), &group));
        }
    }
    if rows.len() > 1 {
        rows.push(row("all", "", &used["total"]));
    }
    let currency = text_of(&used["currency"]);
    let million = format!("{currency} A MILLION");
    let head = ["APP", "GROUP", "CALLS", "GB-S", "READY GB-S", &currency, &million];
    format!("since {since}\n\n{}", output::table(&head, &rows))
}

fn row(app: &str, group: &str, used: &Value) -> Vec<String> {
    let number = |key: &str, decimals: usize| match used[key].as_f64() {
        Some(number) => format!("{number:.decimals$}"),
        None => "-".to_owned(),
    };
    vec![
        app.to_owned(),
        group.to_owned(),
        text_of(&used["executions"]),
        number("gb_s", 1),
        number("always_ready_baseline_gb_s", 1),
        number("cost", 6),
        number("cost_per_million", 4),
    ]
}
