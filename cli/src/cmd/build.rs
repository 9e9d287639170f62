//! `wfn build`: runs the build command of a project and looks at the module it makes.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use serde_json::json;

use crate::failure::{Done, Failure, WhileDoing};
use crate::output;
use crate::project::{Module, Project};
use crate::settings::Global;

/// Arguments of `wfn build`.
#[derive(Debug, Args)]
#[command(after_help = "Runs the command of the table [build] in wfn.toml, in the folder of that file.")]
pub struct Build {
    /// The folder of a wfn.toml, or that file
    #[arg(value_name = "DIR", default_value = ".")]
    target: PathBuf,
}

impl Build {
    /// Builds.
    pub fn run(self, global: &Global) -> Done {
        let (project, module, is_new) = build(&self.target, global.json)?;
        let (path, length) = (project.module.display(), module.bytes.len() as u64);
        let kind = module.form.as_str();
        if global.json {
            return output::print_json(
                &json!({ "module": path.to_string(), "bytes": length, "kind": kind, "changed": is_new }),
            );
        }
        let unchanged = if is_new { "" } else { ", unchanged" };
        output::print(&format!("built {path}: {kind}, {}{unchanged}", output::bytes(length)))
    }
}

/// Builds the project that `target` stands for. What the command says goes where this process's output goes, or
/// to stderr alone where stdout is `for_data`. Says whether the module's file is another than before.
pub fn build(target: &Path, for_data: bool) -> Done<(Project, Module, bool)> {
    let built = || {
        let project = Project::find(target)?;
        let mut command = project.command();
        if for_data {
            command.stdout(stderr()?);
        }
        let before = project.module_time();
        let status = command.status().map_err(|error| project.not_run(&error))?;
        project.check_status(status)?;
        let module = project.read_module()?;
        let is_new = before.is_none() || before != project.module_time();
        Ok((project, module, is_new))
    };
    built().while_doing(|| format!("build {}", target.display()))
}

/// This process's stderr, for a child's stdout.
pub fn stderr() -> Done<Stdio> {
    io::stderr().as_fd().try_clone_to_owned().map(Stdio::from).map_err(Failure::new)
}
