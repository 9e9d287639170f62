//! `wfn status`: one app, its settings, its instances and counts, and why it scaled.

use clap::Args;
use serde_json::Value;
use wfn_runtime::names::AppName;

use crate::client::app_path;
use crate::cmd::deploy::url;
use crate::cmd::{app_name, text_of};
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
    let revision = format!(
        "{} ({}), made {}",
        text_of(&status["revision"]),
        text_of(&status["kind"]),
        status["created_ms"].as_u64().map_or("-".to_owned(), output::time)
    );
    let fields = [
        ("app", text_of(&status["app"])),
        ("revision", revision),
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
    let head = [
        "GROUP",
        "CONCURRENCY",
        "READY",
        "MAX",
        "INSTANCES",
        "PEAK",
        "IN FLIGHT",
        "WAITING",
        "CALLS",
        "COLD",
        "THROTTLED",
        "FAILED",
        "MEMORY",
    ];
    let rows: Vec<_> = groups.iter().map(row).collect();
    text + "\n" + &output::table(&head, &rows)
}

/// One line for each decision, with what it was made from.
fn reasons(why: &Value) -> String {
    let decisions = why["decisions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if decisions.is_empty() {
        return "it has not scaled since the host started".to_owned();
    }
    let head = ["TIME", "REV", "DID", "INSTANCES", "WHY", "IN FLIGHT", "WAITING", "QUOTA MB", "MEMORY"];
    let rows = decisions.iter().map(|decision| {
        let (before, after) = (&decision["before"], &decision["after"]);
        vec![
            decision["time_ms"].as_u64().map_or("-".to_owned(), output::time),
            text_of(&decision["revision"]),
            format!("{} {}", text_of(&decision["action"]), text_of(&decision["count"])),
            format!("{} to {}", text_of(&before["instances"]), text_of(&after["instances"])),
            reason(decision["reason"].as_str().unwrap_or_default()).to_owned(),
            text_of(&after["in_flight"]),
            text_of(&after["waiting"]),
            text_of(&after["quota_reserved_mb"]),
            output::bytes(after["guest_memory_bytes"].as_u64().unwrap_or_default()),
        ]
    });
    output::table(&head, &rows.collect::<Vec<_>>())
}

/// The reason in words; one that a newer host knows stays as it is.
fn reason(code: &str) -> &str {
    match code {
        "always-ready" => "it has to be always ready",
        "every-slot-taken" => "every slot was taken",
        "maximum-instances" => "at the maximum of instances",
        "pace" => "burst used up, at the rate per second",
        "memory-quota" => "no room in the memory quota",
        "host-memory" => "guests hold all memory they may",
        "idle" => "idle for the idle timeout",
        "room-for-others" => "another app needed the room",
        "revision-ended" => "its revision ended",
        other => other,
    }
}

fn row(group: &Value) -> Vec<String> {
    let keys = [
        "group",
        "concurrency",
        "always_ready",
        "max_instances",
        "instances",
        "instances_peak",
        "in_flight",
        "waiting",
        "invocations",
        "cold",
        "throttled",
        "failed",
    ];
    let memory = output::bytes(group["memory_bytes"].as_u64().unwrap_or_default());
    let mut row: Vec<String> = keys.iter().map(|key| text_of(&group[key])).chain([memory]).collect();
    if group["concurrency_is_dynamic"] == true {
        row[1] += " dynamic";
    }
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
