//! Who may use which key-value store, as manifests say it: names, grants, and what would grant more.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::names::AppName;

/// The name of a store within the app that owns it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreName(String);

impl StoreName {
    /// Checks and takes a name: 1 to 63 of `a-z`, `0-9`, `-`, not starting with `-`. The error says so.
    pub fn new(name: &str) -> Result<Self, String> {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=63).contains(&name.len()) && name.bytes().all(is_inner) && !name.starts_with('-');
        match is_name {
            true => Ok(Self(name.to_owned())),
            false => {
                let shown: String = name.chars().take(80).collect();
                Err(format!(
                    "invalid store name {shown:?}: use 1 to 63 of a-z, 0-9 and '-', not starting with '-'"
                ))
            }
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for StoreName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text)
    }
}

impl From<StoreName> for String {
    fn from(name: StoreName) -> Self {
        name.0
    }
}

/// How a manifest and a guest name a store: `sessions` is the app's own, `owner/sessions` another app's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreLabel {
    /// The other app; `None` for one's own.
    pub owner: Option<AppName>,
    /// The store.
    pub store: StoreName,
}

impl StoreLabel {
    /// Reads a label. The error says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (owner, store) = match text.split_once('/') {
            Some((owner, store)) => (Some(AppName::new(owner).map_err(|error| error.to_string())?), store),
            None => (None, text),
        };
        Ok(Self { owner, store: StoreName::new(store)? })
    }
}

impl fmt::Display for StoreLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "{owner}/{}", self.store),
            None => self.store.fmt(f),
        }
    }
}

impl TryFrom<String> for StoreLabel {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<StoreLabel> for String {
    fn from(label: StoreLabel) -> Self {
        label.to_string()
    }
}

/// What an app shares with others: the `[share.…]` tables of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Of its stores, each with the apps that may use it as it does itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub key_value_stores: BTreeMap<StoreName, Vec<AppName>>,
}

impl Share {
    /// Whether nothing is shared.
    pub fn is_empty(&self) -> bool {
        self.key_value_stores.is_empty()
    }

    /// Whether `app` may use `store`.
    pub fn is_with(&self, store: &StoreName, app: &AppName) -> bool {
        self.key_value_stores.get(store).is_some_and(|apps| apps.contains(app))
    }
}

/// Checks what the manifest of `app` says about stores.
pub fn check(app: &AppName, stores: &[StoreLabel], share: &Share) -> Result<(), String> {
    let max = limits::KEY_VALUE_STORES_MAX;
    if stores.len() > max {
        return Err(format!("{} key_value_stores: at most {max} are allowed", stores.len()));
    }
    if let Some(label) = stores.iter().find(|label| label.owner.as_ref() == Some(app)) {
        return Err(format!(
            "key_value_stores: {label}: name the app's own store {:?}",
            label.store.as_str()
        ));
    }
    for (store, apps) in &share.key_value_stores {
        if !stores.iter().any(|label| label.owner.is_none() && label.store == *store) {
            return Err(format!(
                "share.key_value_stores: {store} is not a store of this app: add it to key_value_stores"
            ));
        }
        if apps.len() > max {
            return Err(format!(
                "share.key_value_stores: {store} is shared with {} apps: at most {max} are allowed",
                apps.len()
            ));
        }
    }
    Ok(())
}

/// Why an app may not use a store, with the line that would allow it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its own manifest does not name the store.
    #[error(
        "key_value_stores does not name store {0}; to allow it, add to wfn.toml: key_value_stores = [\"{0}\"]"
    )]
    NotNamed(StoreLabel),
    /// There is nobody who could share it.
    #[error("there is no app {owner} that could share its store {store}")]
    NoOwner {
        /// The app that is missing.
        owner: AppName,
        /// Its store.
        store: StoreName,
    },
    /// The owner's manifest does not share it.
    #[error(
        "app {owner} does not share its store {store}; to allow it, add to the wfn.toml of {owner}, under \
         [share.key_value_stores]: {store} = [\"{app}\"]"
    )]
    NotShared {
        /// Whose store it is.
        owner: AppName,
        /// Which one.
        store: StoreName,
        /// Who wants to use it.
        app: AppName,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        AppName::new(name).unwrap()
    }

    #[test]
    fn labels_are_own_stores_or_those_of_others() {
        for text in ["default", "a", "0-", "owner/sessions", &"x".repeat(63)] {
            assert_eq!(StoreLabel::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "-a", "A", "a_b", "a/b/c", "/a", "a/", "Owner/a", "ä", "a\0", &"x".repeat(64)] {
            assert!(StoreLabel::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_a_manifest_says_has_to_fit_together() {
        let label = |text| StoreLabel::parse(text).unwrap();
        let shares = |store: &str, apps: usize| Share {
            key_value_stores: [(StoreName::new(store).unwrap(), vec![app("b"); apps])].into(),
        };
        let (own, none) = ([label("s")], Share::default());
        assert_eq!(check(&app("a"), &own, &shares("s", 1)), Ok(()));
        let many = vec![label("s"); limits::KEY_VALUE_STORES_MAX + 1];
        let refusals = [
            (check(&app("a"), &many, &none), "at most 32"),
            (check(&app("a"), &[label("a/s")], &none), "own store \"s\""),
            (check(&app("a"), &own, &shares("t", 1)), "add it to key_value_stores"),
            (check(&app("a"), &[label("b/s")], &shares("s", 1)), "add it to key_value_stores"),
            (check(&app("a"), &own, &shares("s", 33)), "at most 32"),
        ];
        for (refusal, expected) in refusals {
            assert!(refusal.as_ref().is_err_and(|why| why.contains(expected)), "{expected}: {refusal:?}");
        }
        assert!(shares("s", 1).is_with(&StoreName::new("s").unwrap(), &app("b")));
        assert!(!shares("s", 1).is_with(&StoreName::new("s").unwrap(), &app("c")));
    }
}
