//! The commands, one file each.

pub mod bench;
pub mod blob;
pub mod build;
pub mod cert;
pub mod completion;
pub mod deploy;
pub mod dev;
pub mod doctor;
pub mod identity;
pub mod import;
pub mod invocations;
pub mod invoke;
pub mod kv;
pub mod logs;
pub mod ls;
pub mod new;
pub mod queue;
mod recent;
pub mod rm;
pub mod rollback;
pub mod scale;
pub mod secret;
pub mod split;
pub mod status;
mod stores;
pub mod top;
pub mod trigger;
pub mod up;
pub mod usage;
pub mod versions;

use std::fs::File;
use std::io::{self, Read};

use serde_json::Value;
use wfn_manifest::names::AppName;

use crate::failure::{Done, Failure};
use crate::output;

/// Reads an app name by the host's own rule.
pub fn app_name(text: &str) -> Result<AppName, String> {
    AppName::new(text).map_err(|error| error.to_string())
}

/// A member of an answer as text to be shown, on one line whatever is in it; `-` where it is missing.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => output::line(text).into_owned(),
        other => other.to_string(),
    }
}

/// Where a deployed app can be called.
pub fn url(functions: &str, deployed: &Value) -> String {
    format!("{functions}{}", deployed["path"].as_str().unwrap_or_default())
}

/// What an argument gives: text as it is, the file of `@FILE`, or stdin for `-`; whole, unless it is longer than
/// `most` bytes. `what` is what it is called, also in the code of that refusal.
pub fn given_bytes(given: &str, most: usize, what: &str) -> Done<Vec<u8>> {
    let unreadable = |error: io::Error| Failure::usage(format!("the {what} cannot be read: {error}"));
    let source: Box<dyn Read> = match (given, given.strip_prefix('@')) {
        ("-", _) => Box::new(io::stdin()),
        (_, Some(path)) => Box::new(
            File::open(path)
                .map_err(|error| Failure::usage(format!("the {what} cannot be read: {path}: {error}")))?,
        ),
        (text, None) => Box::new(text.as_bytes()),
    };
    let mut bytes = Vec::new();
    source.take(most as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() <= most {
        true => Ok(bytes),
        false => Err(Failure::new(format!("the {what} has more than {most} bytes, which is the most"))
            .with_code(&format!("{what}-too-large"))),
    }
}
