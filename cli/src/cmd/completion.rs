//! `wfn completion` and `wfn man`: what shells and `man` know of the commands, made of the same description as `--help`.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use crate::failure::{Done, Failure};
use crate::output;

/// `wfn completion SHELL`.
#[derive(Debug, Args)]
#[command(after_help = "Example: source <(wfn completion bash)")]
pub struct Completion {
    /// The shell that is to complete
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// `wfn man FOLDER`.
#[derive(Debug, Args)]
#[command(after_help = "Example: wfn man /usr/local/share/man/man1")]
pub struct Man {
    /// The folder for the pages; made if it is not there
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Completion {
    /// Prints the script.
    pub fn run(&self, mut wfn: clap::Command) -> Done {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut wfn, "wfn", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}

impl Man {
    /// Writes one page for `wfn` and one for each command.
    pub fn run(&self, wfn: clap::Command) -> Done {
        let written = fs::create_dir_all(&self.folder).and_then(|()| {
            clap_mangen::generate_to(wfn, &self.folder)?;
            Ok::<_, io::Error>(fs::read_dir(&self.folder)?.count())
        });
        let in_folder = |error| Failure::new(format!("{}: {error}", self.folder.display()));
        let pages = written.map_err(in_folder)?;
        output::say(&format!(
            "{pages} pages are in {}: man -l {}/wfn.1",
            self.folder.display(),
            self.folder.display()
        ));
        Ok(())
    }
}
