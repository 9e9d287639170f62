//! `wfn import`: makes the `wfn.toml` of an app that was written for another platform, and says what of it becomes what.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use wfn_manifest::manifest::file::ManifestFile;
use wfn_manifest::names::AppName;

use crate::cmd::deploy::source;
use crate::cmd::{app_name, text_of};
use crate::failure::{Done, Failure, WhileDoing};
use crate::output;
use crate::python;
use crate::settings::Global;

/// Arguments of `wfn import`.
#[derive(Debug, Args)]
pub struct Import {
    #[command(subcommand)]
    platform: Platform,
}

#[derive(Debug, Subcommand)]
enum Platform {
    /// Make wfn.toml of an Azure Functions app in Python, and say line by line what maps
    #[command(after_help = "\
Imports the app in its own Python (.venv, or the virtual environment that is active), with the values of local.settings.json.
What wfn lacks is refused by name; then nothing is written.")]
    Azure {
        /// The folder of the app, with host.json
        #[arg(value_name = "DIR", default_value = ".")]
        folder: PathBuf,

        /// Name of the app [default: that of its folder]
        #[arg(long, value_name = "APP", env = "WFN_NAME", value_parser = app_name, hide_env_values = true)]
        name: Option<AppName>,

        /// Write over a wfn.toml that is there
        #[arg(long)]
        force: bool,
    },
}

impl Import {
    /// Writes the file and prints what becomes what.
    pub fn run(self, global: &Global) -> Done {
        let Platform::Azure { folder, name, force } = self.platform;
        azure(&folder, name, force, global).while_doing(|| format!("import {}", folder.display()))
    }
}

fn azure(folder: &Path, name: Option<AppName>, force: bool, global: &Global) -> Done {
    let folder = fs::canonicalize(folder).map_err(Failure::new)?;
    let name = name.map_or_else(|| source::name_of(&folder), Ok)?;
    let file = folder.join(source::FILE_NAME);
    if file.exists() && !force {
        return Err(Failure::new(format!("{} exists", file.display())).remedy("--force to write over it"));
    }
    let read = read(&folder, &name)?;
    let lines = read["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
    if global.json {
        output::print_json(
            &json!({ "app": name, "file": file, "lines": lines, "refused": read["is_refused"] }),
        )?;
    } else {
        let row = |line: &Value| ["kind", "what", "to"].map(|key| text_of(&line[key])).to_vec();
        let rows: Vec<_> = lines.iter().map(row).collect();
        output::print(&output::table(&["", "THERE", "HERE"], &rows))?;
    }
    if read["is_refused"] != false {
        let refused = lines.iter().filter(|line| line["kind"] == "refused").count();
        return Err(Failure::new(format!("{refused} lines above are refused, so wfn.toml was not written")));
    }
    let text = read["manifest"].as_str().unwrap_or_default();
    check(text, &name)?;
    fs::write(&file, text).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    output::say(&format!("wrote {}; go on with 'wfn dev' in its folder", file.display()));
    Ok(())
}

/// What the package's script says about the app in `folder`.
fn read(folder: &Path, name: &AppName) -> Done<Value> {
    let package = match std::env::var_os(python::VARIABLE) {
        Some(package) => package.into(),
        None => {
            python::folder().map_err(|error| Failure::new(format!("no place for wfn's package: {error}")))?
        }
    };
    let python = python_of(folder);
    let output = Command::new(&python)
        .args(["-m", "wfn.azure.inspect", "--name", name.as_str()])
        .env("PYTHONPATH", package)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Failure::new("there is no python3").remedy("Python 3.10 or later in the PATH")
            }
            _ => Failure::new(format!("{}: {error}", python.display())),
        })?;
    if output.status.success() {
        return serde_json::from_slice(&output.stdout)
            .map_err(|error| Failure::new(format!("{} did not print JSON: {error}", python.display())));
    }
    // The app's own output and its traceback come first, the reason is the last line.
    let said = String::from_utf8_lossy(&output.stderr);
    let (before, reason) = said.trim_end().rsplit_once('\n').unwrap_or(("", said.trim_end()));
    if !before.is_empty() {
        output::say(before);
    }
    Err(Failure::new(output::line(reason)))
}

/// The Python that has the app's packages.
fn python_of(folder: &Path) -> PathBuf {
    let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
    let environments = [Some(folder.join(".venv")), active].into_iter().flatten();
    let mut found =
        environments.map(|environment| environment.join("bin/python")).filter(|python| python.is_file());
    found.next().unwrap_or_else(|| PathBuf::from("python3"))
}

/// Refuses what could not be deployed, for example more functions than an app may have.
fn check(text: &str, name: &AppName) -> Done {
    let parsed = ManifestFile::parse(text).map_err(Failure::new)?;
    parsed.manifest(name.clone(), Vec::new()).check().map_err(Failure::new)
}
