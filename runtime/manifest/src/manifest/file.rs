//! Reads `wfn.toml`: a manifest as a file, with settings that only the command line needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

use crate::manifest::grants::{SharedStores, StoreLabel};
use crate::manifest::triggers::Triggers;
use crate::manifest::{FileMount, Manifest, MountPath, ScaleSettings, ScratchSize};
use crate::names::{AppName, HostName};

/// A parsed `wfn.toml`: the manifest plus what only the client needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// The app's name; by default the module's file name.
    pub name: Option<AppName>,
    /// Path of the module, relative to the file.
    pub module: Option<String>,
    /// Claimed host names.
    #[serde(default)]
    pub hosts: Vec<HostName>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where the guest may send requests.
    #[serde(default)]
    pub allowed_outbound_hosts: Vec<String>,
    /// Folders that come with the module.
    #[serde(default)]
    pub files: Vec<FileSource>,
    /// Size of each instance's `/tmp`, in MB.
    pub scratch_mb: Option<ScratchSize>,
    /// The key-value stores the guest may use.
    #[serde(default)]
    pub key_value_stores: Vec<StoreLabel>,
    /// The blob containers the guest may use.
    #[serde(default)]
    pub blob_containers: Vec<StoreLabel>,
    /// The queues the guest may send to.
    #[serde(default)]
    pub queues: Vec<StoreLabel>,
    /// What calls its functions besides HTTP.
    #[serde(default)]
    pub trigger: Triggers,
    /// What other apps may use.
    #[serde(default)]
    pub share: SharedStores,
    /// Scale settings.
    #[serde(default)]
    pub scale: ScaleSettings,
    /// How the module is made. The host never gets this.
    pub build: Option<BuildSettings>,
}

/// A folder beside the manifest that the guest may read: an entry `[[files]]` of the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// The folder.
    pub source: ProjectPath,
    /// Where the guest finds it.
    pub destination: MountPath,
}

/// How the command line makes the module: the `[build]` table of the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildSettings {
    /// Run by `sh -c` in the folder of the file.
    #[serde(deserialize_with = "build_command")]
    pub command: String,
    /// Files and folders whose change makes the module outdated; by default the whole folder.
    #[serde(default, deserialize_with = "watched_paths")]
    pub watch: Option<Vec<ProjectPath>>,
}

/// Bytes of a build command: Linux allows 128 KiB in one argument. What is longer should be a script.
const BUILD_COMMAND_BYTES_MAX: usize = 64 * 1024;
/// Paths that `watch` may name: each needs a watch of the kernel, and a folder includes what it holds.
const WATCHED_PATHS_MAX: usize = 256;

fn build_command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let command = String::deserialize(deserializer)?;
    if command.trim().is_empty() || command.contains('\0') {
        return Err(de::Error::custom("the command is empty or has a NUL: use what a shell runs"));
    }
    if command.len() > BUILD_COMMAND_BYTES_MAX {
        return Err(de::Error::custom(format!(
            "the command has {} bytes: at most {BUILD_COMMAND_BYTES_MAX} are allowed, put it into a script",
            command.len()
        )));
    }
    Ok(command)
}

fn watched_paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<ProjectPath>>, D::Error> {
    let paths = Vec::deserialize(deserializer)?;
    match paths.len() {
        0 => Err(de::Error::custom("nothing is named: leave watch out to watch the whole folder")),
        1..=WATCHED_PATHS_MAX => Ok(Some(paths)),
        many => Err(de::Error::custom(format!(
            "{many} paths: at most {WATCHED_PATHS_MAX} are allowed, name folders instead of files"
        ))),
    }
}

/// A file or folder beside the manifest or below, with `/` between its parts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ProjectPath(String);

impl ProjectPath {
    /// The path, relative to the file that names it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProjectPath {
    type Error = String;
    fn try_from(path: String) -> Result<Self, String> {
        let is_outside = path.starts_with('/') || path.split('/').any(|part| part == "..");
        if path.is_empty() || path.contains('\0') || is_outside {
            return Err(format!(
                "{path:?} cannot be watched: use a path relative to this file, without '..', such as \"src\""
            ));
        }
        Ok(Self(path))
    }
}

impl ManifestFile {
    /// Parses the text of a `wfn.toml`. The error shows line, column and the line itself, and says what
    /// would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    /// The part that goes to the host: the manifest of the app `name`, with the bundles made of its folders.
    pub fn manifest(self, name: AppName, files: Vec<FileMount>) -> Manifest {
        Manifest {
            name,
            hosts: self.hosts,
            env: self.env,
            allowed_outbound_hosts: self.allowed_outbound_hosts,
            files,
            scratch_mb: self.scratch_mb,
            key_value_stores: self.key_value_stores,
            blob_containers: self.blob_containers,
            queues: self.queues,
            trigger: self.trigger,
            share: self.share,
            scale: self.scale,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wrong_manifest_is_refused_with_line_and_remedy() {
        let cases = [
            ("name = \"Hello\"", &["line 1", "a-z"][..]),
            ("nmae = \"x\"", &["line 1", "unknown field `nmae`", "`name`"]),
            ("\n[scale]\nconcurency = 2", &["line 3", "unknown field", "`concurrency`"]),
            ("[scale]\nmemory_mb = 1024", &["line 2", "2048 or 4096"]),
            ("[scale]\nconcurrency = 1001", &["line 2", "1 to 1000"]),
            ("[scale]\nconcurrency = -1", &["line 2", "1 to 1000"]),
            ("[scale]\nconcurrency = \"many\"", &["line 2", "whole number, 1 to 1000"]),
            ("[scale]\nmax_instances = 0", &["line 2", "1 to 1000"]),
            ("[scale]\ntimeout = 30", &["line 2", "duration", "30s"]),
            ("[scale]\ntimeout = \"30 s\"", &["line 2", "30s"]),
            ("[scale]\ntimeout = \"99999999999999999999s\"", &["line 2", "not a duration"]),
            ("[scale]\ntimeout = \"2h\"", &["line 2", "out of range", "1ms to 1h"]),
            ("[scale]\nisolation = \"none\"", &["line 2", "`reuse`", "`fresh`"]),
            ("hosts = [\"a:80\"]", &["line 1", "without port"]),
            ("[env]\nA = 1", &["line 2", "string"]),
            ("name = ", &["line 1"]),
            ("scratch_mb = 0", &["line 1", "1 to 1024"]),
            ("key_value_stores = [\"Default\"]", &["line 1", "a-z"]),
            ("key_value_stores = [\"a/b/c\"]", &["line 1", "b/c"]),
            ("blob_containers = [\"Images\"]", &["line 1", "a-z"]),
            ("[share.blob_containers]\ns = \"a\"", &["line 2", "sequence"]),
            ("[share]\ntopics = 1", &["line 2", "unknown field", "`key_value_stores`"]),
            ("[share.key_value_stores]\ns = [\"A\"]", &["line 2", "invalid app name"]),
            ("[build]\nwatch = [\"src\"]", &["line 1", "missing field `command`"]),
            ("[build]\ncomand = \"make\"", &["line 2", "unknown field", "`command`"]),
            ("[build]\ncommand = \" \"", &["line 2", "empty", "shell"]),
            ("[build]\ncommand = [\"make\"]", &["line 2", "string"]),
            ("[build]\ncommand = \"make\"\nwatch = []", &["line 3", "leave watch out"]),
            ("[build]\ncommand = \"make\"\nwatch = \"src\"", &["line 3", "sequence"]),
            ("[build]\ncommand = \"make\"\nwatch = [\"/etc\"]", &["line 3", "/etc", "relative to this file"]),
            ("[build]\ncommand = \"make\"\nwatch = [\"a/../..\"]", &["line 3", "without '..'"]),
        ];
        for (text, expected) in cases {
            let error = ManifestFile::parse(text).expect_err(text);
            for part in expected {
                assert!(error.contains(part), "{text:?}: {part:?} is not in:\n{error}");
            }
        }
    }

    #[test]
    fn the_build_table_is_bounded() {
        let parse = |command: &str, paths: usize| {
            let watch = vec!["\"src\""; paths].join(", ");
            ManifestFile::parse(&format!("[build]\ncommand = \"{command}\"\nwatch = [{watch}]"))
        };
        let build = parse("make", WATCHED_PATHS_MAX).unwrap().build.unwrap();
        assert_eq!((build.command.as_str(), build.watch.unwrap()[0].as_str()), ("make", "src"));
        assert!(parse("make", WATCHED_PATHS_MAX + 1).unwrap_err().contains("name folders"));
        assert!(parse(&"x".repeat(BUILD_COMMAND_BYTES_MAX + 1), 1).unwrap_err().contains("into a script"));
    }

    /// A manifest with all settings.
    const WHOLE: &str = r#"
name = "shop"
module = "target/shop.wasm"
hosts = ["shop.example.com"]
allowed_outbound_hosts = ["https://api.example.com", "http://{{ HOST }}"]
scratch_mb = 64
key_value_stores = ["default", "other/cache"]
blob_containers = ["images"]
queues = ["orders"]

[env]
HOST = "example.org"

[[files]]
source = "site"
destination = "/assets"

[[trigger.queue]]
name = "orders"
batch_size = 8
retry = "fixed"
retry_delay = "5s"
session = true

[[trigger.blob]]
name = "thumbs"
container = "images"
prefix = "in/"

[[trigger.timer]]
name = "nightly"
schedule = "0 3 * * *"
time_zone = "Europe/Berlin"

[share.queues]
orders = ["report"]

[scale]
memory_mb = 2048
concurrency = "dynamic"
always_ready = 1
timeout = "30s"
isolation = "fresh"

[build]
command = "make"
watch = ["src", "Makefile"]
"#;

    /// Values that are valid for no setting, or only for some.
    const VALUES: [&str; 16] = [
        "",
        "-1",
        "1e400",
        "99999999999999999999",
        "true",
        "\"\"",
        "\"\\u0000\"",
        "[]",
        "[[]]",
        "{}",
        "{a = 1}",
        "\"30s\"",
        "\"dynamic\"",
        "nan",
        "1979-05-27",
        "\"\"\"\nx\n\"\"\"",
    ];

    #[test]
    fn the_whole_one_is_right() {
        let file = ManifestFile::parse(WHOLE).unwrap();
        let mount = FileMount {
            bundle: crate::names::BundleHash::new([0; 32]),
            destination: "/assets".to_owned().try_into().unwrap(),
        };
        file.manifest(AppName::new("shop").unwrap(), vec![mount]).check().unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_024))]

        #[test]
        fn a_manifest_however_wrong_is_refused_by_line_and_key(
            changes in prop::collection::vec((0..60_usize, 0..6_u8, 0..VALUES.len(), any::<char>()), 1..5),
        ) {
            let mut lines: Vec<String> = WHOLE.lines().map(str::to_owned).collect();
            for (at, kind, value, letter) in changes {
                let at = at % lines.len();
                match kind {
                    0 => drop(lines.remove(at)),
                    1 => lines.insert(at, lines[at].clone()),
                    2 => {
                        if let Some((key, _)) = lines[at].split_once('=') {
                            lines[at] = format!("{key}= {}", VALUES[value]);
                        }
                    }
                    3 => lines.swap(at, value),
                    4 => lines[at].insert(0, letter),
                    _ => lines[at].push(letter),
                }
            }
            let text = lines.join("\n");
            match ManifestFile::parse(&text) {
                Ok(file) => {
                    // The host's error names a setting.
                    if let Err(error) = file.manifest(AppName::new("shop").unwrap(), Vec::new()).check() {
                        prop_assert!(error.contains(|letter: char| letter.is_ascii_lowercase()), "{error}");
                    }
                }
                Err(error) => {
                    let number = error.split("at line ").nth(1).and_then(|rest| rest.split(',').next()?.parse::<usize>().ok());
                    let number = number.ok_or_else(|| TestCaseError::fail(format!("no line in {error}")))?;
                    // The line is shown, with the key that is in it.
                    let line = text.split('\n').nth(number - 1).unwrap_or_default();
                    prop_assert!(error.contains(line.trim_end_matches('\r')), "{line:?} is not in {error}");
                }
            }
        }

        #[test]
        fn no_text_is_too_odd(text in "[\\PC\n\0=\"\\[\\]{}.#]{0,200}") {
            if let Err(error) = ManifestFile::parse(&text) {
                prop_assert!(error.contains("at line "), "{error}");
            }
        }
    }
}
