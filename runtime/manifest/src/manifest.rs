//! The manifest of an app: all settings of a deploy except its module, checked strictly.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::manifest::egress::Egress;
use crate::manifest::grants::{Kind, SharedStores, StoreLabel};
use crate::manifest::triggers::Triggers;
use crate::names::{AppName, BundleHash, HostName};

pub mod egress;
pub mod file;
pub mod function;
pub mod grants;
pub mod scale;
pub mod schedule;
pub mod triggers;
pub mod values;

pub use self::scale::{
    Concurrency, IdleTimeout, Isolation, Language, MemoryClass, ScaleOut, ScalePolicy, ScaleSettings,
    Timeout, Workers,
};
pub use self::values::{Bounded, OrAuto, OrDynamic, Span};

/// Everything a user decides about an app. Scale settings that are not set stay unset. So an explicit value survives a
/// change of the memory class, and a default follows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The app's name and first path segment.
    pub name: AppName,
    /// Host names that lead to the app at their root, besides `/<name>/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostName>,
    /// Environment variables of the guest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where the guest may send requests ([`crate::manifest::egress`]); nowhere by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_outbound_hosts: Vec<String>,
    /// Folders that the guest may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileMount>,
    /// Size of the `/tmp` that each instance gets, in MB (`wfn_runtime::capability::scratch`); none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch_mb: Option<ScratchSize>,
    /// The key-value stores the guest may use (`wfn_runtime::capability::key_value`); none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_value_stores: Vec<StoreLabel>,
    /// The blob containers the guest may use (`wfn_runtime::capability::blobs`); none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blob_containers: Vec<StoreLabel>,
    /// The queues the guest may send to (`wfn_runtime::capability::queues`); none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<StoreLabel>,
    /// What calls its functions besides HTTP.
    #[serde(default, skip_serializing_if = "Triggers::is_empty")]
    pub trigger: Triggers,
    /// Stores of this app that other apps may use.
    #[serde(default, skip_serializing_if = "SharedStores::is_empty")]
    pub share: SharedStores,
    /// Scale settings: the `[scale]` table of the file.
    #[serde(default)]
    pub scale: ScaleSettings,
}

/// A folder of files that came with the deploy, as the guest sees it: read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileMount {
    /// Which files: an uploaded bundle.
    pub bundle: BundleHash,
    /// Where the guest finds them.
    pub destination: MountPath,
}

/// An absolute path in a guest's view of files, without `.` and `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MountPath(String);

impl MountPath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MountPath {
    type Error = String;
    fn try_from(path: String) -> Result<Self, String> {
        let is_plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
        let rest = path.strip_prefix('/');
        let is_valid = rest.is_some_and(|rest| rest.is_empty() || rest.split('/').all(is_plain));
        match is_valid && path.len() <= 255 {
            true => Ok(Self(path)),
            false => {
                Err(format!("destination {path:?}: use an absolute path such as \"/assets\", without '..'"))
            }
        }
    }
}

impl From<MountPath> for String {
    fn from(path: MountPath) -> Self {
        path.0
    }
}

/// Where a guest finds its scratch files.
pub const SCRATCH_PATH: &str = "/tmp";

/// Size of `/tmp` in MB.
pub type ScratchSize = Bounded<1, { limits::SCRATCH_MB_MAX }>;
impl Manifest {
    /// A manifest with nothing but a name.
    pub fn new(name: AppName) -> Self {
        Self {
            name,
            hosts: Vec::new(),
            env: BTreeMap::new(),
            allowed_outbound_hosts: Vec::new(),
            files: Vec::new(),
            scratch_mb: None,
            key_value_stores: Vec::new(),
            blob_containers: Vec::new(),
            queues: Vec::new(),
            trigger: Triggers::default(),
            share: SharedStores::default(),
            scale: ScaleSettings::default(),
        }
    }

    /// The stores of one kind that it names: its own, and those that others share with it.
    pub fn stores(&self, kind: Kind) -> &[StoreLabel] {
        match kind {
            Kind::KeyValueStore => &self.key_value_stores,
            Kind::BlobContainer => &self.blob_containers,
            Kind::Queue => &self.queues,
        }
    }

    /// Checks the limits that concern several fields.
    pub fn check(&self) -> Result<(), String> {
        if self.hosts.len() > limits::HOSTS_PER_APP_MAX {
            return Err(format!(
                "{} hosts: at most {} are allowed",
                self.hosts.len(),
                limits::HOSTS_PER_APP_MAX
            ));
        }
        if self.env.len() > limits::ENV_ENTRIES_MAX {
            return Err(format!(
                "{} env entries: at most {} are allowed",
                self.env.len(),
                limits::ENV_ENTRIES_MAX
            ));
        }
        let bytes: usize = self.env.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > limits::ENV_BYTES_MAX {
            return Err(format!("env holds {bytes} bytes: at most {} are allowed", limits::ENV_BYTES_MAX));
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(format!(
                    "env name {name:?}: a name is not empty and has no '=', and neither part has a NUL"
                ));
            }
        }
        let max = limits::FILE_MOUNTS_MAX;
        if self.files.len() > max {
            return Err(format!("{} files: at most {max} are allowed", self.files.len()));
        }
        let destinations: BTreeSet<_> = self.files.iter().map(|mount| &mount.destination).collect();
        if destinations.len() < self.files.len() {
            return Err("two of files have the same destination".to_owned());
        }
        if self.scratch_mb.is_some() && destinations.iter().any(|path| path.as_str() == SCRATCH_PATH) {
            return Err("scratch_mb and one of files both want to be /tmp".to_owned());
        }
        let check = |kind| grants::check(kind, &self.name, self.stores(kind), &self.share);
        check(Kind::KeyValueStore)?;
        self.trigger.check(&self.queues, &self.blob_containers)?;
        check(Kind::Queue)?;
        check(Kind::BlobContainer)?;
        Egress::parse(&self.allowed_outbound_hosts, &self.env).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::file::ManifestFile;

    #[test]
    fn a_manifest_survives_being_stored() {
        let file = ManifestFile::parse(
            "hosts = [\"a.example\"]\nscratch_mb = 8\nkey_value_stores = [\"s\", \"b/t\"]\nblob_containers = [\"u\"]\n[share.key_value_stores]\ns = [\"c\"]\n[env]\nK = \"v\"\n[scale]\nconcurrency = 4\nidle_timeout = \"90s\"\nisolation = \"fresh\"",
        )
        .unwrap();
        let name = AppName::new("a").unwrap();
        let manifest = file.manifest(name, Vec::new());
        let text = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
        assert!(serde_json::from_str::<Manifest>("{\"name\":\"a\",\"extra\":1}").is_err());
    }
}
