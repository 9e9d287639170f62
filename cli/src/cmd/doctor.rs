//! `wfn doctor`: is this machine fit to be a host, and is the host on it well?

mod host;
mod machine;
mod state;

use serde_json::{Value, json};

use crate::failure::{Done, Failure};
use crate::output;
use crate::settings::Global;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but not in full or not for long.
    Warn,
    /// Does not work.
    Fail,
}

/// The result of one check.
#[derive(Debug)]
pub struct Finding {
    /// How it ended.
    pub level: Level,
    /// What was looked at.
    pub subject: &'static str,
    /// What was seen.
    pub seen: String,
    /// What to do about it, where there is something to do.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(subject: &'static str, seen: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject, seen: seen.into(), remedy: None }
    }

    /// Works with a restriction.
    pub fn warn(subject: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, subject, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    /// Does not work.
    pub fn fail(subject: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Fail, ..Self::warn(subject, seen, remedy) }
    }

    fn line(&self) -> String {
        let level = match self.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        let line = format!("{level}  {:<18}{}", self.subject, self.seen);
        match &self.remedy {
            Some(remedy) => format!("{line}\n{:24}→ {remedy}", ""),
            None => line,
        }
    }

    fn json(&self) -> Value {
        let level = format!("{:?}", self.level).to_ascii_lowercase();
        json!({ "level": level, "subject": self.subject, "seen": self.seen, "remedy": self.remedy })
    }
}

/// Checks the machine, the data directory and the host.
pub fn run(global: &Global) -> Done {
    let mut findings = machine::check();
    findings.extend(state::check(&global.data_dir()?));
    findings.extend(host::check(&global.client()?));
    let failed = findings.iter().filter(|finding| finding.level == Level::Fail).count();
    if global.json {
        let findings: Vec<_> = findings.iter().map(Finding::json).collect();
        output::print_json(&json!({ "ok": failed == 0, "findings": findings }))?;
    } else {
        let lines: Vec<_> = findings.iter().map(Finding::line).collect();
        output::print(&lines.join("\n"))?;
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::new("1 check failed")),
        many => Err(Failure::new(format!("{many} checks failed"))),
    }
}
