//! `cargo xtask COMMAND`: the project's chores, as code that needs nothing but cargo.

mod compiler;
mod debian;
mod demo;
mod demo_component;
mod guests;
mod host;
mod languages;
mod process;
mod release;
mod sysroot;
mod target;
mod test;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::tools::Language;

const HELP: &str = "\
usage: cargo xtask COMMAND

  guests                    build the guests of guest-examples/ into target/guests/; those that are
                            not in Rust where their tools are installed
  guests --with LIST        the same, and first install the tools of the listed languages (python,c)
  guests --all              the same for all languages: js,python,c,go
  guest-env                 print the shell's settings for building Rust guests elsewhere:
                            eval \"$(cargo xtask guest-env)\"
  demo                      build guests and wfn, start it, deploy a guest, call it, stop it
  release                   build the binary that is handed out, with its symbols in a file beside it
  test                      formatting, dependencies, clippy (without OTLP, too), guests, then all tests
  test-guests               only what that does with guests: build, clippy, tests of the SDK
  demo-component [--check]  put the hello guest into cli/demo/, or only check that it is up to date
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = root();
    let done = match arguments[..] {
        ["guest-env"] => guest_env(&root).map(|()| ExitCode::SUCCESS),
        ["guests"] => all_guests(&root, &[]).map(|()| ExitCode::SUCCESS),
        ["guests", "--all"] => all_guests(&root, Language::ALL).map(|()| ExitCode::SUCCESS),
        ["guests", "--with", list] => {
            Language::list(list).and_then(|wanted| all_guests(&root, &wanted)).map(|()| ExitCode::SUCCESS)
        }
        ["demo"] => demo::run(&root).map(|()| ExitCode::SUCCESS),
        ["release"] => release::run(&root).map(|()| ExitCode::SUCCESS),
        ["test"] => test::run(&root),
        ["test-guests"] => test::guests(&root).map(|()| ExitCode::SUCCESS),
        ["demo-component"] => demo_component::refresh(&root).map(|()| ExitCode::SUCCESS),
        ["demo-component", "--check"] => demo_component::check(&root).map(|()| ExitCode::SUCCESS),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprint!("{HELP}");
            Ok(ExitCode::from(2))
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

/// What a shell needs to build guests of every language whose tools were installed here.
fn guest_env(root: &Path) -> Result<()> {
    print!("{}", shell_environment(root)?);
    Ok(())
}

fn shell_environment(root: &Path) -> Result<String> {
    Ok(tools::shell_path(root) + &compiler::find(root)?.shell_environment()?)
}

/// Rust's guests, then those of the other languages; of the `wanted` ones none may be left out. The environment
/// that built them is left beside them, for whoever builds more (`target/guests/env.sh`).
fn all_guests(root: &Path, wanted: &[Language]) -> Result<()> {
    guests::run(root)?;
    languages::run(root, wanted)?;
    let file = root.join("target/guests/env.sh");
    std::fs::write(&file, shell_environment(root)?)
        .with_context(|| format!("failed to write {}", file.display()))
}

/// The repository's root: two folders above this crate, wherever cargo found it.
fn root() -> PathBuf {
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir.ancestors().nth(2).map_or_else(|| PathBuf::from("."), PathBuf::from)
}
