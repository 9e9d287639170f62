//! Which compiler builds the guests: the active toolchain if it can, else Debian's with a std of our own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::target::{self, TARGET};
use crate::{debian, process, sysroot};

/// A cargo, its compiler and flags that make components.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// What to call it in a message.
    pub(crate) description: String,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// The active toolchain has the target's std.
    Active,
    /// Debian's compiler with a sysroot built by [`sysroot`].
    Debian {
        flags: Vec<String>,
        /// A folder with this `cargo` and `rustc`, for a `PATH`.
        bin: PathBuf,
    },
}

impl Compiler {
    /// A cargo command that compiles with this compiler.
    pub(crate) fn cargo(&self) -> Command {
        match &self.way {
            Way::Active => {
                let mut cargo = process::cargo();
                // These are meant for the host's build; guests have their own folder and flags.
                cargo.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET");
                cargo
            }
            Way::Debian { flags, .. } => {
                let mut cargo = process::command(debian::CARGO);
                cargo.env("RUSTC", debian::RUSTC);
                cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
                cargo
            }
        }
    }

    /// Lines for a POSIX shell after which plain `cargo build --target wasm32-wasip2` uses this compiler, anywhere.
    ///
    /// The flags are those of one target, so that what else is built in that shell is not concerned.
    ///
    /// # Errors
    /// When a path has white space, which cargo takes for the end of a flag.
    pub(crate) fn shell_environment(&self) -> Result<String> {
        let Way::Debian { flags, bin } = &self.way else { return Ok(String::new()) };
        if let Some(flag) = flags.iter().find(|flag| flag.contains(char::is_whitespace)) {
            bail!("cargo cannot take the flag \"{flag}\" from the environment: its path has white space");
        }
        let target = TARGET.to_uppercase().replace('-', "_");
        Ok(format!(
            "export PATH={}:\"$PATH\"\n\
             export RUSTC={}\n\
             export CARGO_TARGET_{target}_RUSTFLAGS={}\n\
             unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS\n",
            process::shell_quoted(&bin.to_string_lossy()),
            process::shell_quoted(debian::RUSTC),
            process::shell_quoted(&flags.join(" ")),
        ))
    }

    /// Whether this is the active toolchain, which brings a clippy that knows the target.
    pub(crate) fn is_active_toolchain(&self) -> bool {
        matches!(self.way, Way::Active)
    }
}

/// Finds or prepares a compiler: the active toolchain first, then Debian's packages.
///
/// Neither way downloads a toolchain; where both are missing the error says which command to run.
pub(crate) fn find(root: &Path) -> Result<Compiler> {
    if active_has_target() {
        let description = format!("the active toolchain ({TARGET} is installed)");
        return Ok(Compiler { description, way: Way::Active });
    }
    if !debian::is_debian() {
        bail!(
            "no compiler for guests: the active toolchain has no std for {TARGET}; \
             run `rustup target add {TARGET}`, then again"
        );
    }
    debian::install_missing().with_context(|| {
        format!("failed to get a compiler for guests (`rustup target add {TARGET}` would do, too)")
    })?;
    let tools = linker_tools()?;
    let sysroot = sysroot::prepare(root, &tools)?;
    let description = format!("{} and the std in target/{}", debian::RUSTC, sysroot.name());
    let way = Way::Debian { flags: sysroot.rustflags(), bin: sysroot.bin()? };
    Ok(Compiler { description, way })
}

/// Whether the active rustc has the target's std: its folder holds a compiled `std`.
fn active_has_target() -> bool {
    let asked =
        process::output(process::command("rustc").args(["--print", "target-libdir", "--target"]).arg(TARGET));
    let Ok(libdir) = asked else { return false };
    let Ok(entries) = fs::read_dir(libdir) else {
        return false;
    };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

/// The active toolchain's folder with `rust-lld` and `wasm-component-ld`, which Debian does not package.
fn linker_tools() -> Result<PathBuf> {
    let sysroot = process::output(process::command("rustc").args(["--print", "sysroot"]))?;
    let host = target::host_triple("rustc")?;
    let tools = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin");
    for tool in ["rust-lld", "wasm-component-ld"] {
        if !tools.join(tool).is_file() {
            bail!(
                "{} has no {tool}: guests need the linkers of a toolchain installed by rustup; \
                 run `rustup toolchain install stable`, then again",
                tools.display()
            );
        }
    }
    Ok(tools)
}
