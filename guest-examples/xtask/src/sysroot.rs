//! A sysroot for guests: std compiled once from Debian's source, with wasi-libc and the toolchain's linkers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::target::{self, TARGET};
use crate::{debian, process};

/// Raised when the recipe below changes in a way its other inputs do not show.
const RECIPE_VERSION: u32 = 1;

/// Without bitcode in std, guests cannot be optimized as a whole.
const STD_FLAGS: &str = "-Cembed-bitcode=yes";

/// What std links against and Debian's libc lacks.
const STUBS: &str = include_str!("../stubs/pthread.rs");

/// A crate to hang the build of std on.
const EMPTY_MANIFEST: &str = "\
[package]
name = \"empty\"
version = \"0.0.0\"
edition = \"2024\"

[workspace]
";

/// The name of every finished or half-made sysroot in target/ begins so.
const PREFIX: &str = "guest-sysroot-";

/// A finished sysroot.
#[derive(Debug)]
pub(crate) struct Sysroot {
    path: PathBuf,
}

impl Sysroot {
    /// Its folder's name, which holds the recipe's hash.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A folder with the names `cargo` and `rustc` for Debian's, made if it is missing: rustup's come first in most
    /// `PATH`s.
    pub(crate) fn bin(&self) -> Result<PathBuf> {
        let bin = self.path.join("bin");
        create_dir(&bin)?;
        for (name, program) in [("cargo", debian::CARGO), ("rustc", debian::RUSTC)] {
            let link = bin.join(name);
            if !link.exists() {
                std::os::unix::fs::symlink(program, &link)
                    .with_context(|| format!("failed to link {}", link.display()))?;
            }
        }
        Ok(bin)
    }

    /// What rustc has to be told to use it.
    pub(crate) fn rustflags(&self) -> Vec<String> {
        vec![
            format!("--sysroot={}", self.path.display()),
            format!("-Clink-arg={}", stubs_object(&self.path).display()),
        ]
    }
}

/// Hands back the sysroot for Debian's compiler, built now if target/ does not hold it yet.
///
/// `tools` is the folder with the linkers. The folder's name holds a hash over everything that goes in, because
/// cargo does not notice a sysroot that changes in place.
pub(crate) fn prepare(root: &Path, tools: &Path) -> Result<Sysroot> {
    let target = root.join("target");
    let path = target.join(format!("{PREFIX}{}", recipe_hash(tools)?));
    if !path.is_dir() {
        let partial = path.with_extension(format!("partial-{}", std::process::id()));
        eprintln!("guests: building std for {TARGET} (once, about a minute)");
        let built = build(&partial, tools);
        if built.is_err() {
            // The build's error is worth more than one about its leavings.
            let _ = fs::remove_dir_all(&partial);
        }
        built?;
        publish(&partial, &path)?;
        remove_outdated(&target, &path)?;
    }
    Ok(Sysroot { path })
}

/// A hash over all that a sysroot is made of.
fn recipe_hash(tools: &Path) -> Result<String> {
    let libc = wasi_libc("libc.a");
    let libc = fs::read(&libc).with_context(|| format!("failed to read {}", libc.display()))?;
    let compiler = process::output(process::command(debian::RUSTC).arg("-vV"))?;
    let mut hash = Sha256::new();
    for part in [
        RECIPE_VERSION.to_string().as_bytes(),
        compiler.as_bytes(),
        TARGET.as_bytes(),
        STD_FLAGS.as_bytes(),
        STUBS.as_bytes(),
        tools.as_os_str().as_encoded_bytes(),
        &libc,
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Ok(format!("{:x}", hash.finalize())[..16].to_owned())
}

/// Makes a whole sysroot in `folder`.
fn build(folder: &Path, tools: &Path) -> Result<()> {
    let libraries = libraries(folder);
    let self_contained = libraries.join("self-contained");
    create_dir(&self_contained)?;

    let build_dir = folder.join("build");
    build_std(&build_dir)?;
    let built = build_dir.join("target").join(TARGET).join("release/deps");
    let entries = fs::read_dir(&built).with_context(|| format!("failed to read {}", built.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("failed to read {}", built.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libempty-") {
            copy(&entry.path(), &libraries.join(name))?;
        }
    }
    for file in ["crt1.o", "crt1-command.o", "crt1-reactor.o", "libc.a"] {
        copy(&wasi_libc(file), &self_contained.join(file))?;
    }

    let host = folder.join("lib/rustlib").join(target::host_triple(debian::RUSTC)?);
    create_dir(&host)?;
    std::os::unix::fs::symlink(tools, host.join("bin"))
        .with_context(|| format!("failed to link the linkers in {}", tools.display()))?;

    compile_stubs(folder, &build_dir)?;
    fs::remove_dir_all(&build_dir).with_context(|| format!("failed to remove {}", build_dir.display()))
}

/// Compiles std in `build_dir` with Debian's cargo and compiler, whose version its source has.
fn build_std(build_dir: &Path) -> Result<()> {
    let source = build_dir.join("src");
    create_dir(&source)?;
    write(&build_dir.join("Cargo.toml"), EMPTY_MANIFEST)?;
    write(&source.join("lib.rs"), "#![no_std]\n")?;
    process::run(
        process::command(debian::CARGO)
            .args(["build", "--release", "--target", TARGET, "-Zbuild-std=std,panic_abort"])
            .arg("--target-dir")
            .arg(build_dir.join("target"))
            .current_dir(build_dir)
            .env("RUSTC", debian::RUSTC)
            // Building std is not stable; this compiler's own std is what it is for.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", STD_FLAGS),
    )
}

/// Compiles the stubs against the std just built.
fn compile_stubs(folder: &Path, build_dir: &Path) -> Result<()> {
    let source = build_dir.join("pthread.rs");
    write(&source, STUBS)?;
    process::run(
        process::command(debian::RUSTC)
            .args(["--target", TARGET, "--edition=2024", "--crate-type=lib", "--emit=obj"])
            .args(["-Copt-level=s", "-Cpanic=abort"])
            .arg(format!("--sysroot={}", folder.display()))
            .arg("-o")
            .arg(stubs_object(folder))
            .arg(&source)
            .env("RUSTC_BOOTSTRAP", "1"),
    )
}

/// Gives a finished sysroot its name; one that another run finished first is as good.
fn publish(partial: &Path, path: &Path) -> Result<()> {
    match fs::rename(partial, path) {
        Err(_) if path.is_dir() => {
            fs::remove_dir_all(partial).with_context(|| format!("failed to remove {}", partial.display()))
        }
        renamed => renamed.with_context(|| format!("failed to name {}", path.display())),
    }
}

/// Removes sysroots of older recipes, 80 MB each. Half-made ones may be another run's work.
fn remove_outdated(target: &Path, current: &Path) -> Result<()> {
    let entries = fs::read_dir(target).with_context(|| format!("failed to read {}", target.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && !name.contains(".partial-") && path != current {
            fs::remove_dir_all(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn libraries(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib").join(TARGET).join("lib")
}

fn stubs_object(sysroot: &Path) -> PathBuf {
    libraries(sysroot).join("self-contained/pthread-stubs.o")
}

fn wasi_libc(file: &str) -> PathBuf {
    Path::new(debian::WASI_LIBC).join(file)
}

fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("failed to create {}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("failed to copy {}", from.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
