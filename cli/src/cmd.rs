//! The commands, one file each.

pub mod blob;
pub mod build;
pub mod deploy;
pub mod dev;
pub mod doctor;
pub mod identity;
pub mod invoke;
pub mod kv;
pub mod logs;
pub mod ls;
pub mod new;
pub mod rm;
pub mod rollback;
pub mod scale;
pub mod secret;
pub mod status;
pub mod up;
pub mod versions;

use serde_json::Value;
use wfn_runtime::names::AppName;

/// Reads an app name by the host's own rule.
pub fn app_name(text: &str) -> Result<AppName, String> {
    AppName::new(text).map_err(|error| error.to_string())
}

/// A member of an answer as text; `-` where it is missing.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
