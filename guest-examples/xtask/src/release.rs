//! `cargo xtask release`: the binary that is handed out, with its symbols in a file beside it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result};

use crate::process;

/// Builds `wfn`, and splits it into `wfn` and `wfn.debug`. A debugger, and the host's own backtraces, find the second by a note in
/// the first, as long as both are in one folder.
pub(crate) fn run(root: &Path) -> Result<()> {
    process::run(process::cargo().args(["build", "--release", "--package", "wfn"]).current_dir(root))?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let built = root.join(target).join("release");
    // What cargo has linked stays as it is, so that it links again only if something has changed.
    let folder = built.join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    for arguments in [
        &["--only-keep-debug", "--compress-debug-sections=zlib", "../wfn", "wfn.debug"][..],
        &["--strip-all", "--add-gnu-debuglink=wfn.debug", "../wfn", "wfn"],
    ] {
        process::run(objcopy()?.args(arguments).current_dir(&folder))?;
    }
    for name in ["wfn", "wfn.debug"] {
        let path = folder.join(name);
        let bytes = fs::metadata(&path).with_context(|| format!("failed to read {}", path.display()))?.len();
        println!("{:6.1} MB  {}", bytes as f64 / 1e6, path.display());
    }
    Ok(())
}

/// The objcopy that comes with the linker, or else with the compiler.
fn objcopy() -> Result<Command> {
    if process::output(Command::new("objcopy").arg("--version")).is_ok() {
        return Ok(Command::new("objcopy"));
    }
    let sysroot = PathBuf::from(process::output(Command::new("rustc").args(["--print", "sysroot"]))?);
    let about = process::output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not name its host")?;
    let mut objcopy = Command::new(sysroot.join("lib/rustlib").join(host).join("bin/rust-objcopy"));
    objcopy.env("LD_LIBRARY_PATH", sysroot.join("lib"));
    Ok(objcopy)
}
