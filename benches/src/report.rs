//! Writes the results of a bench: a printed table, and the same as Markdown and JSON under `target/bench/`.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::table::Table;
use crate::workspace::Workspace;

/// Load average of other processes above which the figures are not reliable: half a core.
const LOAD_AVERAGE_QUIET: f64 = 0.5;

/// The result of one bench.
#[derive(Debug)]
pub struct Report {
    name: String,
    machine: Value,
    notes: Vec<String>,
}

impl Report {
    /// Begins a report: describes the machine, and warns if others are using it.
    pub fn begin(name: impl Into<String>) -> Self {
        let machine = machine();
        let load_average = machine["load_average_before"].as_f64().unwrap_or(0.0);
        let mut report = Self { name: name.into(), machine, notes: Vec::new() };
        if load_average > LOAD_AVERAGE_QUIET {
            report.note(format!(
                "the machine was not quiet: its load average was {load_average} before the start"
            ));
        }
        report
    }

    /// Adds a note to the figures, and prints it.
    pub fn note(&mut self, note: String) {
        eprintln!("note: {note}");
        self.notes.push(note);
    }

    /// Prints `table` and writes it, with `figures` as JSON, to `target/bench/NAME.md` and `.json`.
    pub fn end(self, workspace: &Workspace, table: &Table, mut figures: Value) -> Result<()> {
        let machine = format!(
            "{}, {} cores, {:.0} GB, Linux {}",
            self.machine["cpu"].as_str().unwrap_or("unknown CPU"),
            self.machine["cores"],
            self.machine["memory_bytes"].as_f64().unwrap_or(0.0) / 1e9,
            self.machine["kernel"].as_str().unwrap_or("?"),
        );
        let notes: String = self.notes.iter().map(|note| format!("\n- {note}")).collect();
        let folder = workspace.results()?;
        let write = |ending: &str, text: String| {
            let path = folder.join(format!("{}.{ending}", self.name));
            fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        let markdown = write("md", format!("{machine}.\n\n{}{notes}\n", table.markdown()))?;
        figures["bench"] = self.name.clone().into();
        figures["machine"] = self.machine;
        figures["notes"] = self.notes.into();
        let json = write("json", format!("{figures:#}\n"))?;
        println!("\n{}\n\n{}", machine, table.text());
        if !notes.is_empty() {
            println!("{}", notes.trim_start_matches('\n'));
        }
        println!("written: {} and {}", markdown.display(), json.display());
        Ok(())
    }
}

fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory, load) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/loadavg"));
    let cpu = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    let memory = memory.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok());
    let load = load.split_whitespace().next().and_then(|load| load.parse::<f64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({
        "cpu": cpu.map(|(_, model)| model.trim()),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "memory_bytes": memory.map(|kilobytes| kilobytes * 1024),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_average_before": load,
        "unix_seconds": now,
    })
}
