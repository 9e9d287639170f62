//! Names and paths of the functions that triggers call.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::manifest::grants::StoreName;

/// The name of a function. Its scale group and its log lines have this name too.
pub type FunctionName = StoreName;

/// The path of a function within its component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionPath(String);

impl FunctionPath {
    /// The path of `function`: the `given` one, or else `/` and its name.
    pub fn of(function: &FunctionName, given: Option<&Self>) -> String {
        given.map_or_else(|| format!("/{function}"), |path| path.0.clone())
    }
}

impl TryFrom<String> for FunctionPath {
    type Error = String;
    fn try_from(path: String) -> Result<Self, String> {
        let is_path = path.starts_with('/') && path.len() <= limits::QUEUE_PROPERTY_BYTES_MAX;
        match is_path && path.parse::<http::uri::PathAndQuery>().is_ok() {
            true => Ok(Self(path)),
            false => Err(format!("path {path:?}: use the path of a URL, such as \"/orders\"")),
        }
    }
}

impl From<FunctionPath> for String {
    fn from(path: FunctionPath) -> Self {
        path.0
    }
}
