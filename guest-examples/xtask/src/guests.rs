//! `cargo xtask guests`: every Rust guest of guest-examples/ as a component in target/guests/.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::target::TARGET;
use crate::{compiler, process};

/// Builds what is not up to date and prints one line per guest.
pub(crate) fn run(root: &Path) -> Result<()> {
    for component in build(root)? {
        print_size(root, &component)?;
    }
    Ok(())
}

/// One line for a guest that is up to date.
pub(crate) fn print_size(root: &Path, module: &Path) -> Result<()> {
    let bytes = fs::metadata(module).with_context(|| format!("failed to read {}", module.display()))?.len();
    let shown = module.strip_prefix(root).unwrap_or(module).display().to_string();
    println!("{shown:<38} {:>9.1} KB", bytes as f64 / 1000.0);
    Ok(())
}

/// Builds all guests; hands back their components, in order of name.
pub(crate) fn build(root: &Path) -> Result<Vec<PathBuf>> {
    let names = names(root)?;
    build_only(root, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Builds the guests called `names`; hands back their components, in the same order.
pub(crate) fn build_only(root: &Path, names: &[&str]) -> Result<Vec<PathBuf>> {
    let compiler = compiler::find(root)?;
    let build_dir = root.join("target/guests-build");
    eprintln!("guests: building {} with {}", names.join(", "), compiler.description);

    for name in names {
        // One run each: cargo unites the features of all that it builds together, which would give std to those
        // that do without and both worlds to those that use the SDK.
        let mut cargo = compiler.cargo();
        cargo
            .args(["build", "--release", "--target", TARGET, "--package", name, "--manifest-path"])
            .arg(root.join("guest-examples/rust/Cargo.toml"))
            .arg("--target-dir")
            .arg(&build_dir);
        process::run(&mut cargo)?;
    }

    let built = build_dir.join(TARGET).join("release");
    let guests = root.join("target/guests");
    fs::create_dir_all(&guests).with_context(|| format!("failed to create {}", guests.display()))?;
    let mut components = Vec::new();
    for name in names {
        // Cargo names a library's file after its crate, which has no hyphens.
        let from = built.join(format!("{}.wasm", name.replace('-', "_")));
        let to = guests.join(format!("{name}.wasm"));
        copy_if_different(&from, &to)?;
        components.push(to);
    }
    Ok(components)
}

/// A guest is a folder with a `Cargo.toml` and a `wfn.toml`; its name is the folder's.
fn names(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("guest-examples/rust");
    let entries = fs::read_dir(&folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("failed to read {}", folder.display()))?;
        if entry.path().join("Cargo.toml").is_file() && entry.path().join("wfn.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    if names.is_empty() {
        bail!("{} holds no guest (a folder with Cargo.toml and wfn.toml)", folder.display());
    }
    names.sort();
    Ok(names)
}

/// Leaves an equal file alone, so that its time tells when the guest last changed. A different one is replaced
/// as a whole: whoever reads meanwhile sees the old or the new component.
pub(crate) fn copy_if_different(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("failed to read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let partial = to.with_extension("wasm.partial");
    fs::write(&partial, &new)
        .and_then(|()| fs::rename(&partial, to))
        .with_context(|| format!("failed to write {}", to.display()))
}
