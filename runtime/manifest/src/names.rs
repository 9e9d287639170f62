//! Names that come from outside. They are checked once, when they come in, and are types of their own from there on.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a name was refused. The message says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not usable as an app name.
    #[error(
        "invalid app name {0:?}: use 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
    )]
    App(String),
    /// Not usable as a host name.
    #[error(
        "invalid host name {0:?}: use a plain DNS name such as \"api.example.com\", without port or path"
    )]
    Host(String),
    /// Not a SHA-256 in hexadecimal.
    #[error("invalid module hash {0:?}: expected 64 hexadecimal digits (the SHA-256 of the module)")]
    Hash(String),
}

/// At most the first 80 characters of a text that may be hostile.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The name of an app. It is also the first path segment, so it is a DNS label and has no slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(Arc<str>);

impl AppName {
    /// Checks and takes a name: 1 to 63 of `a-z`, `0-9`, `-`, not starting or ending with `-`.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if is_dns_label(name) { Ok(Self(name.into())) } else { Err(NameError::App(shown(name))) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_dns_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A host name an app claims, in lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(Arc<str>);

impl HostName {
    /// Checks and takes a host name (dot-separated DNS labels, at most 253 characters).
    pub fn new(name: &str) -> Result<Self, NameError> {
        let lower = name.to_ascii_lowercase();
        if lower.len() <= 253 && lower.split('.').all(is_dns_label) {
            Ok(Self(lower.into()))
        } else {
            Err(NameError::Host(shown(name)))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a module's bytes: how modules are named everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModuleHash([u8; 32]);

/// SHA-256 of the archive of a bundle (`wfn_runtime::capability::bundle`).
pub type BundleHash = ModuleHash;

/// SHA-256 of machine code (`wfn_runtime::component::cache`).
pub type CodeHash = ModuleHash;

impl ModuleHash {
    /// Wraps a finished digest.
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refused = || NameError::Hash(shown(text));
        if text.len() != 64 || !text.is_ascii() {
            return Err(refused());
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16).ok_or_else(refused)?;
            let low = (pair[1] as char).to_digit(16).ok_or_else(refused)?;
            *byte = (high * 16 + low) as u8;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for ModuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Number of a revision within its app, from 1, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionId(pub u32);

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text_name {
    ($name:ident, $parse:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                $parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.to_string()
            }
        }
    };
}
text_name!(AppName, AppName::new);
text_name!(HostName, HostName::new);

impl TryFrom<String> for ModuleHash {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<ModuleHash> for String {
    fn from(hash: ModuleHash) -> String {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_place_are_refused() {
        for bad in ["", "a/b", "..", ".", "A", "a_b", "-a", "a-", "a b", "ä", "a\0", &"x".repeat(64)] {
            assert!(AppName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "hello", "a-1", "0", &"x".repeat(63)] {
            assert!(AppName::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", "a..b", "a:80", "a/b", ".a", "a."] {
            assert!(HostName::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(HostName::new("API.Example.com").unwrap().as_str(), "api.example.com");
    }

    #[test]
    fn a_hash_survives_its_text_form() {
        let hash = ModuleHash::new(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(ModuleHash::parse(&hash.to_string()), Ok(hash));
        assert!(ModuleHash::parse(&"g".repeat(64)).is_err());
        assert!(ModuleHash::parse("é".repeat(32).as_str()).is_err());
    }
}
