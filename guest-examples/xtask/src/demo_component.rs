//! `cargo xtask demo-component`: the hello guest that `wfn up --demo` carries, and whether it is up to date.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::guests;

/// Builds the guests and puts hello with its hashes into cli/demo/.
pub(crate) fn refresh(root: &Path) -> Result<()> {
    guests::build(root)?;
    let folder = root.join("cli/demo");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    guests::copy_if_different(&root.join("target/guests/hello.wasm"), &component(root))?;
    let note = note(root)?;
    fs::write(noted(root), &note).with_context(|| format!("failed to write {}", noted(root).display()))?;
    print!("cli/demo/hello.wasm is up to date\n{note}");
    Ok(())
}

/// Fails when hello's sources or the component changed since [`refresh`] noted them.
pub(crate) fn check(root: &Path) -> Result<()> {
    let written = fs::read_to_string(noted(root))
        .with_context(|| format!("{} is missing; run `cargo xtask demo-component`", noted(root).display()))?;
    if written != note(root)? {
        bail!(
            "cli/demo/hello.wasm is stale: it or guest-examples/rust/hello has changed since it was made; \
             run `cargo xtask demo-component`"
        );
    }
    println!("cli/demo/hello.wasm is up to date");
    Ok(())
}

fn component(root: &Path) -> PathBuf {
    root.join("cli/demo/hello.wasm")
}

fn noted(root: &Path) -> PathBuf {
    root.join("cli/demo/hello.sources")
}

/// What hello.sources says: a hash over the sources, and one over the component made from them.
fn note(root: &Path) -> Result<String> {
    let component = component(root);
    let bytes = fs::read(&component)
        .with_context(|| format!("{} is missing; run `cargo xtask demo-component`", component.display()))?;
    let mut note = String::new();
    writeln!(note, "sources sha256:{}", sources_hash(&root.join("guest-examples/rust/hello"))?)?;
    writeln!(note, "component sha256:{:x}", Sha256::digest(&bytes))?;
    Ok(note)
}

/// A hash over `Cargo.toml` and all files in `src/` of a crate: names, lengths and bytes, in order of name.
fn sources_hash(krate: &Path) -> Result<String> {
    let source = krate.join("src");
    let entries = fs::read_dir(&source).with_context(|| format!("failed to read {}", source.display()))?;
    let mut names = vec!["Cargo.toml".to_owned()];
    for entry in entries {
        let entry = entry.with_context(|| format!("failed to read {}", source.display()))?;
        names.push(format!("src/{}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let mut hash = Sha256::new();
    for name in names {
        let path = krate.join(&name);
        let bytes = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        for part in [name.as_bytes(), &bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}
