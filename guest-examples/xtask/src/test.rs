//! `cargo xtask test`: everything that has to hold before a change lands, the tests last.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::target::TARGET;
use crate::tools::Language;
use crate::{compiler, process};

/// The test that needs the machine for itself, as `.config/nextest.toml` says: it waits until the machine is healthy.
const ALONE: &str = "dynamic::a_waiting_function";

/// Runs all checks; stops at the first that fails. The exit code is the test runner's.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let guest_manifest = root.join("guest-examples/rust/Cargo.toml");
    let mut steps = Steps::default();

    steps.begin("formatting");
    process::run(in_root(root).args(["fmt", "--all", "--check"]))?;
    process::run(in_root(root).args(["fmt", "--all", "--check", "--manifest-path"]).arg(&guest_manifest))?;

    steps.begin("dependencies");
    check_dependencies(root)?;

    let guests = Beside::begin(root)?;
    steps.begin("build, with clippy");
    process::run(linted(root, &["test"]).args(["--no-run", "--all-targets"]))?;
    steps.begin("build without OTLP, with clippy");
    let mut plain = linted(root, &["build"]);
    // Only looked at: nothing of it runs.
    plain.env("CARGO_PROFILE_DEV_DEBUG", "none");
    process::run(plain.arg("--no-default-features"))?;
    steps.begin("what was left of the guests");
    guests.finish()?;

    steps.begin("tests");
    let status = if has(root, "nextest") {
        // Its configuration names those that need the machine for themselves.
        process::status(linted(root, &["nextest", "run"]).arg("--no-fail-fast"))?
    } else {
        process::run(linted(root, &["test"]).args(["--no-fail-fast", "--", "--skip", ALONE]))?;
        process::status(linted(root, &["test"]).arg(ALONE))?
    };
    Ok(process::exit_code(status))
}

/// What is done with guests, beside the build of the host: builds them with the tools that they need, reads them with
/// clippy, and runs the tests of the SDK.
pub(crate) fn guests(root: &Path) -> Result<()> {
    let guest_manifest = root.join("guest-examples/rust/Cargo.toml");
    let mut steps = Steps::default();

    steps.begin("guests");
    crate::all_guests(root, &[Language::Python, Language::C])?;
    steps.begin("clippy of the guests");
    clippy_guests(root, &guest_manifest)?;
    steps.begin("tests of the SDK");
    process::run(natively(root, "test", &guest_manifest).args([
        "--quiet",
        "--package",
        "wfn-sdk",
        "--package",
        "wfn-sdk-macros",
        "--package",
        "html-count",
    ]))
}

/// [`guests`] in a process of its own, whose output goes into a file until it is waited for: installing tools, linking and
/// the compilers of other languages leave cores idle, which a build fills.
struct Beside {
    child: Child,
    log: PathBuf,
}

impl Beside {
    fn begin(root: &Path) -> Result<Self> {
        let log = root.join("target/test-guests.log");
        let said = File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
        let also = said.try_clone().context("failed to share a file")?;
        eprintln!("\nguests: begun beside what follows; their output is in {}", log.display());
        let mut command = Command::new(std::env::current_exe().context("failed to find this program")?);
        let child = command.arg("test-guests").stdin(Stdio::null()).stdout(said).stderr(also).spawn();
        Ok(Self { child: child.context("failed to start this program again")?, log })
    }

    /// Waits for its end, and shows what it said.
    fn finish(mut self) -> Result<()> {
        let status = self.child.wait().context("failed to await the guests")?;
        let said = fs::read(&self.log).with_context(|| format!("failed to read {}", self.log.display()))?;
        eprint!("{}", String::from_utf8_lossy(&said));
        if !status.success() {
            bail!("the guests' part, `cargo xtask test-guests`, ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Left early: nothing of it goes on behind the caller's back. It has ended if `finish` was called.
        let _ = self.child.wait();
    }
}

/// What `deny.toml` allows. Known vulnerabilities are not looked for: their database would have to be downloaded.
fn check_dependencies(root: &Path) -> Result<()> {
    if !has(root, "deny") {
        eprintln!("note: cargo-deny is not installed, so deny.toml is not checked; see docs/testing.md");
        return Ok(());
    }
    process::run(in_root(root).args(["deny", "check", "licenses", "sources", "bans"]))
}

/// Cargo with clippy as the compiler of the workspace, as `cargo clippy` arranges it, but for builds and tests too: what is
/// linted is what runs, and the dependencies, which are most, are compiled once. Of the whole workspace, always: then every
/// dependency has the same features.
fn linted(root: &Path, subcommand: &[&str]) -> Command {
    let mut cargo = in_root(root);
    // Not by its variable: tests that build guests would inherit it.
    cargo.args(subcommand).args([
        "--workspace",
        "--config",
        r#"build.rustc-workspace-wrapper="clippy-driver""#,
    ]);
    cargo.env("CLIPPY_ARGS", "-Dwarnings");
    cargo
}

/// Guests for their target if the active toolchain has it, else as what they are natively: ordinary libraries.
fn clippy_guests(root: &Path, guest_manifest: &Path) -> Result<()> {
    let compiler = compiler::find(root)?;
    let mut clippy = natively(root, "clippy", guest_manifest);
    if compiler.is_active_toolchain() {
        clippy.args(["--target", TARGET]);
    } else {
        eprintln!(
            "note: the active toolchain has no std for {}, so clippy reads the guests natively",
            TARGET
        );
        clippy.arg("--all-targets");
    }
    process::run(clippy.args(["--workspace", "--", "-D", "warnings"]))
}

/// Cargo on the guests' workspace with the active toolchain, in a target folder of its own.
fn natively(root: &Path, subcommand: &str, guest_manifest: &Path) -> Command {
    let mut cargo = in_root(root);
    cargo
        .args([subcommand, "--manifest-path"])
        .arg(guest_manifest)
        .arg("--target-dir")
        .arg(root.join("target/guests-native"));
    cargo
}

fn in_root(root: &Path) -> Command {
    let mut cargo = process::cargo();
    cargo.current_dir(root);
    cargo
}

/// Whether cargo has this command.
fn has(root: &Path, command: &str) -> bool {
    process::output(in_root(root).args([command, "--version"])).is_ok()
}

/// Says what is done, and when it is dropped how long each took.
#[derive(Default)]
struct Steps {
    begun: Vec<(&'static str, Instant)>,
}

impl Steps {
    fn begin(&mut self, name: &'static str) {
        eprintln!("\n== {name}");
        self.begun.push((name, Instant::now()));
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        eprintln!();
        let ends = self.begun.iter().skip(1).map(|(_, begun)| *begun).chain([Instant::now()]);
        for ((name, begun), end) in self.begun.iter().zip(ends) {
            eprintln!("{:6} s  {name}", end.duration_since(*begun).as_secs());
        }
    }
}
