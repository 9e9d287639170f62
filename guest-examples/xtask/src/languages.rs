//! Guests in languages besides Rust: each is built by the command in its `wfn.toml`, as `wfn build` would.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::tools::{self, Language};
use crate::{guests, process};

/// What a shell answers when it does not find a command, and a build command when its tool is missing.
const TOOL_MISSING: i32 = 127;

/// Folders in an example that hold no sources.
const NOT_SOURCES: &[&str] = &["build", "node_modules", ".venv", "__pycache__"];

/// One example: a folder with a `wfn.toml` that says how to build it.
#[derive(Debug)]
struct Example {
    language: Language,
    name: String,
    folder: PathBuf,
    module: PathBuf,
    command: String,
}

/// Installs the tools of the `wanted` languages, then builds what is not up to date.
///
/// Of other languages the examples are built whose tools happen to be installed.
pub(crate) fn run(root: &Path, wanted: &[Language]) -> Result<()> {
    for example in examples(root)? {
        let is_wanted = wanted.contains(&example.language);
        if is_wanted {
            eprintln!("guests: looking after the tools for {}", example.name);
            example.language.install(root, &example.folder)?;
        }
        if example.build(root)? {
            guests::print_size(root, &example.module)?;
        } else if is_wanted {
            bail!("the tools for {} are missing, though they have been installed", example.name);
        } else {
            let language = example.language.folder();
            eprintln!("guests: left out {} (`cargo xtask guests --with {language}`)", example.name);
        }
    }
    Ok(())
}

impl Example {
    /// Reads the `wfn.toml` in `folder`.
    fn read(language: Language, folder: PathBuf) -> Result<Self> {
        let path = folder.join("wfn.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let table: toml::Table =
            text.parse().with_context(|| format!("failed to understand {}", path.display()))?;
        let text = |value: Option<&toml::Value>, key: &str| -> Result<String> {
            let value = value.and_then(toml::Value::as_str);
            value.map(str::to_owned).with_context(|| format!("{} has no {key}", path.display()))
        };
        let name = text(table.get("name"), "name")?;
        let module = folder.join(text(table.get("module"), "module")?);
        let command = text(table.get("build").and_then(|build| build.get("command")), "build.command")?;
        let module = normal(&module);
        Ok(Self { language, name, folder, module, command })
    }

    /// Makes the module up to date; false if the tools are missing, which the command then says itself.
    fn build(&self, root: &Path) -> Result<bool> {
        let stamps = root.join("target/guests-stamps");
        let stamp = stamps.join(&self.name);
        let key = self.key(root)?;
        if self.module.is_file() && fs::read_to_string(&stamp).is_ok_and(|built| built == key) {
            return Ok(true);
        }
        eprintln!("guests: building {}", self.name);
        for folder in [Some(stamps.as_path()), self.module.parent()].into_iter().flatten() {
            fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        }
        let mut shell = tools::command(root, "sh")?;
        let status = process::status(shell.arg("-c").arg(&self.command).current_dir(&self.folder))?;
        if status.code() == Some(TOOL_MISSING) {
            return Ok(false);
        }
        if !status.success() {
            bail!("failed to build {}: its command ended with {status}", self.name);
        }
        if !self.module.is_file() {
            bail!("the build command of {} has not made {}", self.name, self.module.display());
        }
        fs::write(&stamp, key).with_context(|| format!("failed to write {}", stamp.display()))?;
        Ok(true)
    }

    /// A hash over the tool's version and all sources, with those that the template and the package lend: names, lengths and bytes, in
    /// order of name.
    fn key(&self, root: &Path) -> Result<String> {
        let version = self.language.version(root, &self.folder).unwrap_or_default();
        let mut files = Vec::new();
        let mut folders = vec![self.folder.clone(), root.join("cli/templates").join(self.language.folder())];
        if self.language == Language::Python {
            folders.push(root.join("sdk/python/wfn"));
        }
        for folder in &folders {
            list_sources(folder, &mut files)?;
        }
        files.sort();
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(version.as_bytes());
        for file in files {
            let bytes = fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
            add(file.strip_prefix(root).unwrap_or(&file).as_os_str().as_encoded_bytes());
            add(&bytes);
        }
        Ok(format!("{:x}\n", hash.finalize()))
    }
}

/// All examples, by language and name.
fn examples(root: &Path) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    for &language in Language::ALL {
        let mut folders = entries(&root.join("guest-examples").join(language.folder()))?;
        folders.retain(|folder| folder.join("wfn.toml").is_file());
        folders.sort();
        for folder in folders {
            examples.push(Example::read(language, folder)?);
        }
    }
    Ok(examples)
}

fn list_sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in entries(folder)? {
        let name = entry.file_name().unwrap_or_default();
        if !entry.is_dir() {
            files.push(entry);
        } else if !NOT_SOURCES.iter().any(|not| name == *not) {
            list_sources(&entry, files)?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>();
    read().with_context(|| format!("failed to read {}", folder.display()))
}

/// The path without `..`: sources are no links, so the parent of a folder is the one that its name says.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == std::path::Component::ParentDir {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::examples;
    use crate::tools::Language;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn every_language_has_an_example_that_is_built_into_target_guests() {
        let examples = examples(&super::normal(&root())).expect("readable examples");
        for &language in Language::ALL {
            let example = examples.iter().find(|example| example.language == language);
            let example = example.unwrap_or_else(|| panic!("no example in {}", language.folder()));
            let module = format!("target/guests/{}.wasm", example.name);
            assert!(example.module.ends_with(&module), "{} is not {module}", example.module.display());
        }
    }

    #[test]
    fn every_language_has_a_template() {
        for language in Language::ALL {
            let template = root().join("cli/templates").join(language.folder());
            for file in ["wfn.toml", "README.md", "gitignore"] {
                assert!(template.join(file).is_file(), "{} has no {file}", template.display());
            }
            let manifest = fs::read_to_string(template.join("wfn.toml")).expect("readable manifest");
            assert!(manifest.contains("name = \"{{name}}\""), "{manifest}");
        }
    }

    #[test]
    fn lists_of_languages_are_read_or_refused() {
        assert_eq!(Language::list("python,c").expect("a list"), [Language::Python, Language::C]);
        let error = Language::list("python,perl").expect_err("perl is unknown").to_string();
        assert_eq!(error, "\"perl\" is not among the languages js, python, c, go");
    }
}
