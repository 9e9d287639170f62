//! A folder that can be built: its `wfn.toml`, the module that this names, and its `[build]` table.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::SystemTime;

use wfn_manifest::limits;
use wfn_manifest::manifest::file::BuildSettings;
use wfn_runtime::component::inspect::{self, Form};

use crate::cmd::deploy::source;
use crate::failure::{Done, Failure};
use crate::python;

/// Where a function is written.
#[derive(Debug, Clone)]
pub struct Project {
    /// The manifest's file.
    pub file: PathBuf,
    /// The module's file, which may not exist yet.
    pub module: PathBuf,
    /// How the module is made.
    pub build: BuildSettings,
}

/// A module that can be deployed.
#[derive(Debug)]
pub struct Module {
    /// What kind of guest it is, or becomes.
    pub form: Form,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Project {
    /// Finds the project that `target` stands for: a folder with a `wfn.toml`, that file, or a module beside it.
    pub fn find(target: &Path) -> Done<Self> {
        let file = match target.extension() {
            Some(extension) if extension == "toml" => target.to_owned(),
            Some(extension) if extension == "wasm" => source::beside(target, source::FILE_NAME),
            _ => target.join(source::FILE_NAME),
        };
        if !file.is_file() {
            return Err(Failure::new(format!("there is no file {}", file.display()))
                .remedy("the folder of a function, or 'wfn new' for a new one"));
        }
        let parsed = source::parse(&file)?;
        let missing = |what: &str, line: &str| {
            Err(Failure::new(format!("{}: it does not say {what}", file.display())).remedy(line))
        };
        let Some(build) = parsed.build else {
            return missing("how to build", "a table [build] with a line command = \"…\" at its end");
        };
        let Some(module) = parsed.module else {
            return missing("which module is built", "a line module = \"MODULE.wasm\" at its beginning");
        };
        Ok(Self { module: source::beside(&file, &module), file, build })
    }

    /// The folder of the manifest's file.
    pub fn folder(&self) -> &Path {
        match self.file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// The command that makes the module, ready to run.
    pub fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.build.command).current_dir(self.folder());
        // Without a place for it the command says what is missing.
        if self.build.command.contains(python::VARIABLE)
            && std::env::var_os(python::VARIABLE).is_none()
            && let Ok(folder) = python::folder()
        {
            command.env(python::VARIABLE, folder);
        }
        command
    }

    /// Refuses a build that failed.
    pub fn check_status(&self, status: ExitStatus) -> Done {
        if status.success() {
            return Ok(());
        }
        let ending = match status.code() {
            Some(code) => format!("exit code {code}"),
            // Without a code it was a signal.
            None => status.to_string(),
        };
        Err(Failure::new(format!("the build command ended with {ending}: {}", self.shown_command())))
    }

    /// Refuses a command that could not be run at all.
    pub fn not_run(&self, error: &std::io::Error) -> Failure {
        Failure::new(format!("the build command cannot be run: {error}: {}", self.shown_command()))
    }

    /// The first line of the command.
    fn shown_command(&self) -> String {
        let mut lines = self.build.command.trim().lines();
        let first = lines.next().unwrap_or_default();
        if lines.next().is_some() { format!("{first} …") } else { first.to_owned() }
    }

    /// When the module was written, if there is one.
    pub fn module_time(&self) -> Option<SystemTime> {
        self.module.metadata().and_then(|metadata| metadata.modified()).ok()
    }

    /// Reads the module and looks at its outside, as the host will.
    pub fn read_module(&self) -> Done<Module> {
        let shown = self.module.display();
        let unreadable = |error: std::io::Error| Failure::new(format!("{shown}: {error}"));
        if !self.module.is_file() {
            return Err(Failure::new(format!("the build command made no file {shown}"))
                .remedy(format!("module in {} naming what the command writes", self.file.display())));
        }
        if self.module.metadata().map_err(unreadable)?.len() > limits::MODULE_BYTES_MAX {
            let megabytes = limits::MODULE_BYTES_MAX / limits::MEBIBYTE;
            return Err(Failure::new(format!("{shown} is larger than {megabytes} MB"))
                .with_code("module-too-large")
                .remedy("a build without debug information"));
        }
        let bytes = std::fs::read(&self.module).map_err(unreadable)?;
        let form = inspect::inspect(&bytes)
            .map_err(|error| Failure::new(format!("{shown}: {error}")).with_code(error.code()))?
            .form;
        Ok(Module { form, bytes })
    }
}
