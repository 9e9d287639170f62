//! Targets of compilers: the guests', and the machine's own.

use anyhow::{Context as _, Result};

use crate::process;

/// What guests are compiled for.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// The triple of the machine that `rustc` runs on.
pub(crate) fn host_triple(rustc: &str) -> Result<String> {
    let version = process::output(process::command(rustc).arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .with_context(|| format!("`{rustc} -vV` names no host"))
}
