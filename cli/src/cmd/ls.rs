//! `wfn ls`: the apps of the host.

use serde_json::Value;

use crate::cmd::{text_of, url};
use crate::failure::Done;
use crate::output;
use crate::settings::Global;

/// Lists the apps.
pub fn run(global: &Global) -> Done {
    let client = global.client()?;
    let listed = client.get("/v1/apps")?;
    if global.json {
        return output::print_json(&listed);
    }
    let host = client.get("/v1/host")?;
    for broken in host["broken"].as_array().into_iter().flatten() {
        let (app, reason) = (text_of(&broken["app"]), text_of(&broken["reason"]));
        output::say(&format!("{app} is not served: {reason}"));
    }
    let functions = client.functions()?;
    let apps = listed["apps"].as_array().map(Vec::as_slice).unwrap_or_default();
    if apps.is_empty() {
        output::say("no app is deployed here yet: 'wfn deploy MODULE.wasm'");
        return Ok(());
    }
    let rows: Vec<_> = apps.iter().map(|app| row(app, &functions)).collect();
    let head = ["APP", "REVISION", "KIND", "MEMORY MB", "INSTANCES", "IN FLIGHT", "CALLS", "URL"];
    output::print(&output::table(&head, &rows))
}

fn row(app: &Value, functions: &str) -> Vec<String> {
    let sum = |key: &str| -> u64 {
        let groups = app["groups"].as_array().into_iter().flatten();
        groups.chain([&app["split"]]).filter_map(|group| group[key].as_u64()).sum()
    };
    vec![
        text_of(&app["app"]),
        match app["split"]["percent"].as_u64() {
            Some(percent) => {
                let (active, second) = (text_of(&app["revision"]), text_of(&app["split"]["revision"]));
                format!("{active}, {percent} % {second}")
            }
            None => text_of(&app["revision"]),
        },
        text_of(&app["kind"]),
        text_of(&app["memory_mb"]),
        sum("instances").to_string(),
        sum("in_flight").to_string(),
        sum("invocations").to_string(),
        url(functions, app),
    ]
}
