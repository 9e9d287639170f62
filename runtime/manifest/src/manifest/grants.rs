//! Decides which app may use which key-value store, blob container or queue, and says which grant is missing.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::names::AppName;

/// What a manifest grants and an app may share. Here all kinds are called stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Key-value stores (`wfn_runtime::capability::key_value`).
    KeyValueStore,
    /// Blob containers (`wfn_runtime::capability::blobs`).
    BlobContainer,
    /// Queues (`wfn_runtime::capability::queues`).
    Queue,
}

impl Kind {
    /// The setting of the manifest that names them.
    pub fn setting(self) -> &'static str {
        match self {
            Self::KeyValueStore => "key_value_stores",
            Self::BlobContainer => "blob_containers",
            Self::Queue => "queues",
        }
    }

    /// The name of the kind, for texts where nothing else says which kind it is.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyValueStore => "key-value store",
            Self::BlobContainer => "blob container",
            Self::Queue => "queue",
        }
    }

    /// The short name of the kind.
    pub fn noun(self) -> &'static str {
        match self {
            Self::KeyValueStore => "store",
            Self::BlobContainer => "container",
            Self::Queue => "queue",
        }
    }

    /// The stable error code for one that does not exist.
    pub fn no_such(self) -> &'static str {
        match self {
            Self::KeyValueStore => "no-such-store",
            Self::BlobContainer => "no-such-container",
            Self::Queue => "no-such-queue",
        }
    }
}

/// Which store: the app that owns it, and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The owner.
    pub app: AppName,
    /// The store.
    pub store: StoreName,
}

/// The name of a store within the app that owns it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreName(String);

impl StoreName {
    /// Checks a name: 1 to 63 of `a-z`, `0-9`, `-`, not starting with `-`. The error says so.
    pub fn new(name: &str) -> Result<Self, String> {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=63).contains(&name.len()) && name.bytes().all(is_inner) && !name.starts_with('-');
        match is_name {
            true => Ok(Self(name.to_owned())),
            false => {
                let shown: String = name.chars().take(80).collect();
                Err(format!("invalid name {shown:?}: use 1 to 63 of a-z, 0-9 and '-', not starting with '-'"))
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
    /// The other app; `None` for the app itself.
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
pub struct SharedStores {
    /// Its key-value stores, each with the apps that may use it like the app itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub key_value_stores: Shared,
    /// The same for its blob containers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blob_containers: Shared,
    /// The same for its queues. The apps may send to them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub queues: Shared,
}

/// Stores, each with the apps that may use it.
pub type Shared = BTreeMap<StoreName, Vec<AppName>>;

impl SharedStores {
    /// Whether nothing is shared.
    pub fn is_empty(&self) -> bool {
        self.key_value_stores.is_empty() && self.blob_containers.is_empty() && self.queues.is_empty()
    }

    /// Whether `app` may use `store`.
    pub fn is_with(&self, kind: Kind, store: &StoreName, app: &AppName) -> bool {
        self.of(kind).get(store).is_some_and(|apps| apps.contains(app))
    }

    fn of(&self, kind: Kind) -> &Shared {
        match kind {
            Kind::KeyValueStore => &self.key_value_stores,
            Kind::BlobContainer => &self.blob_containers,
            Kind::Queue => &self.queues,
        }
    }
}

/// Checks what the manifest of `app` says about stores of one kind.
pub fn check(kind: Kind, app: &AppName, stores: &[StoreLabel], share: &SharedStores) -> Result<(), String> {
    let (max, setting, noun) = (limits::STORES_MAX, kind.setting(), kind.noun());
    if stores.len() > max {
        return Err(format!("{} {setting}: at most {max} are allowed", stores.len()));
    }
    if let Some(label) = stores.iter().find(|label| label.owner.as_ref() == Some(app)) {
        return Err(format!("{setting}: {label}: name the app's own {noun} {:?}", label.store.as_str()));
    }
    for (store, apps) in share.of(kind) {
        if !stores.iter().any(|label| label.owner.is_none() && label.store == *store) {
            return Err(format!("share.{setting}: {store} is not a {noun} of this app: add it to {setting}"));
        }
        if apps.len() > max {
            return Err(format!(
                "share.{setting}: {store} is shared with {} apps: at most {max} are allowed",
                apps.len()
            ));
        }
    }
    Ok(())
}

/// The stores of one kind that the guests of one revision may use.
#[derive(Debug)]
pub struct Grants {
    kind: Kind,
    app: AppName,
    stores: Vec<StoreLabel>,
}

impl Grants {
    /// Grants the `stores` that the manifest of `app` names.
    pub fn new(kind: Kind, app: &AppName, stores: &[StoreLabel]) -> Self {
        Self { kind, app: app.clone(), stores: stores.to_vec() }
    }

    /// Which kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The store with this `label`, if it may be used now. A store of another app has to be shared by the revision of
    /// its owner that serves, which `share_of` finds.
    pub fn place(
        &self,
        label: StoreLabel,
        share_of: impl FnOnce(&AppName) -> Option<SharedStores>,
    ) -> Result<Place, GrantRefusal> {
        let kind = self.kind;
        if !self.stores.contains(&label) {
            return Err(GrantRefusal::NotNamed { kind, label });
        }
        let StoreLabel { owner, store } = label;
        let Some(owner) = owner else { return Ok(Place { app: self.app.clone(), store }) };
        match share_of(&owner) {
            None => Err(GrantRefusal::NoOwner { kind, owner, store }),
            Some(share) if share.is_with(kind, &store, &self.app) => Ok(Place { app: owner, store }),
            Some(_) => Err(GrantRefusal::NotShared { kind, owner, store, app: self.app.clone() }),
        }
    }
}

/// Why an app may not use a store, with the line that would allow it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// Its own manifest does not name the store.
    #[error(
        "{setting} does not name {noun} {label}; to allow it, add to wfn.toml: {setting} = [\"{label}\"]",
        setting = kind.setting(),
        noun = kind.noun()
    )]
    NotNamed {
        /// The kind.
        kind: Kind,
        /// The label.
        label: StoreLabel,
    },
    /// The app that would have to share it does not exist.
    #[error("there is no app {owner} that could share its {noun} {store}", noun = kind.noun())]
    NoOwner {
        /// The kind.
        kind: Kind,
        /// The app that is missing.
        owner: AppName,
        /// Its store.
        store: StoreName,
    },
    /// The owner's manifest does not share it.
    #[error(
        "app {owner} does not share its {noun} {store}; to allow it, add to the wfn.toml of {owner}, under \
         [share.{setting}]: {store} = [\"{app}\"]",
        setting = kind.setting(),
        noun = kind.noun()
    )]
    NotShared {
        /// The kind.
        kind: Kind,
        /// The app that owns the store.
        owner: AppName,
        /// The store.
        store: StoreName,
        /// The app that is not allowed to use it.
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
        let shares = |store: &str, apps: usize| SharedStores {
            key_value_stores: [(StoreName::new(store).unwrap(), vec![app("b"); apps])].into(),
            blob_containers: Shared::default(),
            queues: Shared::default(),
        };
        let check = |app: &AppName, stores: &[StoreLabel], share: &SharedStores| {
            super::check(Kind::KeyValueStore, app, stores, share)
        };
        let (own, none) = ([label("s")], SharedStores::default());
        assert_eq!(check(&app("a"), &own, &shares("s", 1)), Ok(()));
        let many = vec![label("s"); limits::STORES_MAX + 1];
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
    }

    #[test]
    fn a_store_may_be_used_where_both_sides_say_so() {
        let label = |text| StoreLabel::parse(text).unwrap();
        let place = |app: &AppName| Place { app: app.clone(), store: StoreName::new("s").unwrap() };
        let grants = Grants::new(Kind::BlobContainer, &app("b"), &[label("s"), label("a/s")]);
        let shared: Shared = [(StoreName::new("s").unwrap(), vec![app("b")])].into();
        let of_containers = SharedStores { blob_containers: shared.clone(), ..SharedStores::default() };
        let of_stores = SharedStores { key_value_stores: shared, ..SharedStores::default() };
        assert_eq!(grants.place(label("s"), |_| None), Ok(place(&app("b"))));
        assert_eq!(grants.place(label("a/s"), |_| Some(of_containers.clone())), Ok(place(&app("a"))));
        for (text, share, why) in [
            ("t", None, "add to wfn.toml: blob_containers = [\"t\"]"),
            ("a/s", None, "no app a that could share its container s"),
            ("a/s", Some(of_stores), "under [share.blob_containers]: s = [\"b\"]"),
            ("c/s", Some(of_containers), "does not name container c/s"),
        ] {
            let refusal = grants.place(label(text), |_| share).unwrap_err().to_string();
            assert!(refusal.contains(why), "{text}: {refusal}");
        }
    }
}
