//! `cargo xtask test`: everything that has to hold before a change lands, the tests last.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::tools::Language;
use crate::{compiler, process};

/// The test that needs the machine for itself, as `.config/nextest.toml` says: it waits until the machine is healthy.
const ALONE: &str = "dynamic::a_waiting_function";

/// Runs all checks; stops at the first that fails. The exit code is the test runner's.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let guest_manifest = root.join("guest-examples/rust/Cargo.toml");

    step("formatting");
    process::run(in_root(root).args(["fmt", "--all", "--check"]))?;
    process::run(in_root(root).args(["fmt", "--all", "--check", "--manifest-path"]).arg(&guest_manifest))?;

    step("clippy");
    process::run(&mut clippy(root, &[]))?;
    step("clippy without OTLP");
    process::run(&mut clippy(root, &["--no-default-features"]))?;
    clippy_guests(root, &guest_manifest)?;

    step("guests");
    crate::all_guests(root, &[Language::Python, Language::C])?;
    process::run(natively(root, "test", &guest_manifest).args([
        "--quiet",
        "--package",
        "wfn-sdk",
        "--package",
        "wfn-sdk-macros",
        "--package",
        "html-count",
    ]))?;

    step("tests");
    if has_nextest(root) {
        // Its configuration names those that need the machine for themselves.
        let mut runner = in_root(root);
        return Ok(process::exit_code(process::status(runner.args([
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
        ]))?));
    }
    process::run(in_root(root).args(["test", "--workspace", "--no-fail-fast", "--", "--skip", ALONE]))?;
    Ok(process::exit_code(process::status(in_root(root).args(["test", "--workspace", ALONE]))?))
}

/// Of the whole workspace, always: then every dependency has the same features, and is compiled once.
fn clippy(root: &Path, flags: &[&str]) -> Command {
    let mut cargo = in_root(root);
    cargo.args(["clippy", "--workspace", "--all-targets"]).args(flags).args(["--", "-D", "warnings"]);
    cargo
}

/// Guests for their target if the active toolchain has it, else as what they are natively: ordinary libraries.
fn clippy_guests(root: &Path, guest_manifest: &Path) -> Result<()> {
    let compiler = compiler::find(root)?;
    let mut clippy = natively(root, "clippy", guest_manifest);
    if compiler.is_active_toolchain() {
        clippy.args(["--target", compiler::TARGET]);
    } else {
        eprintln!(
            "note: the active toolchain has no std for {}, so clippy reads the guests natively",
            compiler::TARGET
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

fn has_nextest(root: &Path) -> bool {
    process::output(in_root(root).args(["nextest", "--version"])).is_ok()
}

fn step(name: &str) {
    eprintln!("\n== {name}");
}
