//! Debian's packages for building guests: which are missing, and installing them.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::process;

/// Debian's cargo, named outright: rustup's comes first in most PATHs.
pub(crate) const CARGO: &str = "/usr/bin/cargo";

/// Debian's compiler, likewise.
pub(crate) const RUSTC: &str = "/usr/bin/rustc";

/// Where rust-web-src puts the std that matches [`RUSTC`].
pub(crate) const STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";

/// Where wasi-libc puts its library and start files.
pub(crate) const WASI_LIBC: &str = "/usr/lib/wasm32-wasi";

/// All that building Rust guests takes from Debian.
const PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "wasi-libc"];

/// Whether packages can be asked for here.
pub(crate) fn is_debian() -> bool {
    Path::new("/etc/debian_version").is_file()
}

/// Gets a compiler for Rust guests: see [`install`].
pub(crate) fn install_missing() -> Result<()> {
    install(PACKAGES)?;
    for file in [CARGO, RUSTC, STD_SOURCE, WASI_LIBC] {
        if !Path::new(file).exists() {
            bail!("{file} is not there, though {} are installed", PACKAGES.join(", "));
        }
    }
    Ok(())
}

/// Installs what is missing of `packages` if this is root, else says which command does.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !is_installed(name)).collect();
    if !missing.is_empty() {
        let install = ["install", "-y", "--no-install-recommends"];
        let shown = format!("apt-get {} {}", install.join(" "), missing.join(" "));
        if process::output(process::command("id").arg("-u"))? != "0" {
            bail!("packages are missing; run `sudo apt-get update && sudo {shown}`, then again");
        }
        eprintln!("guests: installing Debian packages: apt-get update && {shown}");
        process::run(process::command("apt-get").arg("update"))?;
        process::run(process::command("apt-get").args(install).args(&missing))
            .with_context(|| format!("failed to install {}", missing.join(", ")))?;
    }
    Ok(())
}

/// Whether dpkg has the package fully installed.
fn is_installed(package: &str) -> bool {
    process::output(process::command("dpkg-query").args(["-W", "-f", "${db:Status-Status}"]).arg(package))
        .is_ok_and(|status| status == "installed")
}
