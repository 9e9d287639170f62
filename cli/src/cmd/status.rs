//! `wfn status`: one app, its settings, its instances and counts, and why it scaled.

use clap::Args;
use serde_json::Value;
use wfn_manifest::names::AppName;

use crate::client::app_path;
use crate::cmd::recent::{self, Recent};
use crate::cmd::{app_name, text_of, url};
use crate::failure::{Done, WhileDoing};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// Show why it got more or fewer instances, or did not
    #[arg(long)]
    why: bool,
}

impl Status {
    /// Shows the app.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        if self.why {
            let why = client
                .get(&app_path(&self.app, "/scaling"))
                .while_doing(|| format!("ask why {} scaled", self.app))?;
            return if global.json { output::print_json(&why) } else { output::print(&reasons(&why)) };
        }
        let status = client.get(&app_path(&self.app, "")).while_doing(|| format!("look at {}", self.app))?;
        if global.json {
            return output::print_json(&status);
        }
        output::print(&shown(&status, &client.functions()?))
    }
}

fn shown(status: &Value, functions: &str) -> String {
    let list = |key: &str| {
        let texts: Vec<_> = status[key].as_array().into_iter().flatten().map(text_of).collect();
        texts.join(", ")
    };
    let seconds = |key: &str| match status[key].as_u64() {
        Some(ms) if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        Some(ms) => format!("{ms} ms"),
        None => "-".to_owned(),
    };
    let second = &status["split"];
    let fields = [
        ("app", text_of(&status["app"])),
        ("revision", revision(status)),
        ("split", split(second)),
        ("url", url(functions, status)),
        ("hosts", list("hosts")),
        ("env", list("env")),
        ("secrets", list("secrets")),
        ("key-value", list("key_value_stores")),
        ("blobs", list("blob_containers")),
        ("queues", list("queues")),
        ("outbound", outbound(status)),
        ("memory", format!("{} MB an instance", text_of(&status["memory_mb"]))),
        ("timeout", format!("{}, idle {}", seconds("timeout_ms"), seconds("idle_timeout_ms"))),
        ("isolation", text_of(&status["isolation"])),
    ];
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let mut text: String = fields.map(|(name, value)| format!("{name:<12}{value}\n")).collect();
    let groups = status["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    for group in groups {
        text += &cold_starts(group);
    }
    let mut of_instances: Vec<_> = groups.iter().map(instances).collect();
    if !second.is_null() {
        let mut row = instances(second);
        row[0] += &format!(" ({})", text_of(&second["revision"]));
        of_instances.push(row);
    }
    let head =
        ["GROUP", "CONCURRENCY", "INSTANCES", "READY", "MAX", "PEAK", "IN FLIGHT", "WAITING", "MEMORY"];
    text = text + "\n" + &output::table(&head, &of_instances) + "\n\n";
    let of_calls: Vec<_> = groups.iter().map(calls).collect();
    let head = ["GROUP", "CALLS", "COLD", "THROTTLED", "FAILED", "CPU", "NOW/S", "P50", "P99"];
    text + &output::table(&head, &of_calls)
}

/// A revision by its number, and what is said of it.
fn revision(revision: &Value) -> String {
    let made = revision["created_ms"].as_u64().map_or("-".to_owned(), output::time);
    format!("{} ({}), made {made}", text_of(&revision["revision"]), text_of(&revision["kind"]))
}

/// The second revision and what it takes; nothing where there is none.
fn split(second: &Value) -> String {
    match second["percent"].as_u64() {
        Some(percent) => format!("{percent} % of the HTTP requests to {}", revision(second)),
        None => String::new(),
    }
}

/// One line for each decision, with what it was made from.
fn reasons(why: &Value) -> String {
    let decisions = why["decisions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if decisions.is_empty() {
        return "it has not scaled since the host started".to_owned();
    }
    let head = ["TIME", "REV", "DID", "INSTANCES", "IN FLIGHT", "WAITING", "WHY"];
    let rows = decisions.iter().map(|decision| {
        let (before, after) = (&decision["before"], &decision["after"]);
        let time = decision["time_ms"].as_u64().map_or("-".to_owned(), output::time);
        vec![
            // Without year and zone: decisions are of this run of the host.
            time.get(5..23).unwrap_or(&time).replace('T', " "),
            text_of(&decision["revision"]),
            format!("{} {}", text_of(&decision["action"]), text_of(&decision["count"])),
            format!("{} to {}", text_of(&before["instances"]), text_of(&after["instances"])),
            text_of(&after["in_flight"]),
            text_of(&after["waiting"]),
            reason(decision),
        ]
    });
    output::table(&head, &rows.collect::<Vec<_>>())
}

/// The reason in words; one that a newer host knows stays as it is.
fn reason(decision: &Value) -> String {
    let after = &decision["after"];
    match decision["reason"].as_str().unwrap_or_default() {
        "always-ready" => "always ready".to_owned(),
        "every-slot-taken" => "every slot taken".to_owned(),
        "maximum-instances" => "at the maximum".to_owned(),
        "pace" => "burst used up".to_owned(),
        "memory-quota" => format!("quota full: {} MB", text_of(&after["quota_reserved_mb"])),
        "host-memory" => {
            let held = output::bytes(after["guest_memory_bytes"].as_u64().unwrap_or_default());
            format!("guests hold {held}")
        }
        "idle" => "idle".to_owned(),
        "room-for-others" => "another app's turn".to_owned(),
        "revision-ended" => "revision ended".to_owned(),
        other => other.to_owned(),
    }
}

fn instances(group: &Value) -> Vec<String> {
    let keys = ["group", "concurrency", "instances", "always_ready", "max_instances", "instances_peak"];
    let mut row: Vec<String> = keys.iter().map(|key| text_of(&group[key])).collect();
    if group["concurrency_is_dynamic"] == true {
        row[1] += " dynamic";
    }
    let memory = output::bytes(group["memory_bytes"].as_u64().unwrap_or_default());
    row.extend([text_of(&group["in_flight"]), text_of(&group["waiting"]), memory]);
    row
}

fn calls(group: &Value) -> Vec<String> {
    let recent = Recent::of(group);
    let mut row: Vec<String> = ["group", "invocations", "cold", "throttled", "failed"]
        .iter()
        .map(|key| text_of(&group[key]))
        .collect();
    row.extend([
        recent::took(group["cpu_us"].as_f64()),
        format!("{:.1}", recent.a_second("invocations")),
        recent::took(recent.took_us("p50_us")),
        recent::took(recent.took_us("p99_us")),
    ]);
    row
}

/// What it may reach, and what it did there; nothing for an app that may not send requests.
fn outbound(status: &Value) -> String {
    let allowed = status["allowed_outbound_hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let did = |key: &str| text_of(&status["outbound"][key]);
    match allowed {
        [] if did("refused") == "0" => String::new(),
        [] => format!("nowhere; {} requests refused", did("refused")),
        _ => {
            let allowed: Vec<String> = allowed.iter().map(text_of).collect();
            let (sent, refused, opened) = (did("requests"), did("refused"), did("connections"));
            format!("{}; {sent} sent, {refused} refused, {opened} connections", allowed.join(", "))
        }
    }
}

fn cold_starts(group: &Value) -> String {
    let took = &group["cold_start_us"];
    let shown = |key: &str| took[key].as_f64().map(|microseconds| format!("{microseconds:.0} µs"));
    match (shown("p50"), shown("p99"), shown("max")) {
        (Some(p50), Some(p99), Some(max)) => {
            format!("{:<12}p50 {p50}, p99 {p99}, longest {max}\n", "cold start")
        }
        _ => String::new(),
    }
}
