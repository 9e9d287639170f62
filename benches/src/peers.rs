//! The servers that are compared: what each is, how it is started and how it is called.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::process::Server;
use crate::wfn::Host;
use crate::workspace::Workspace;

/// The wasmtime version that wfn is built on, so that only the hosts differ.
const WASMTIME_VERSION: &str = "48.0.8";
/// The workerd version of the figures in docs/performance.md.
const WORKERD_VERSION: &str = "1.20261117.1";
/// The gunicorn version of the figures in docs/performance.md.
const GUNICORN_VERSION: &str = "23.0.0";
/// Keeps the pages of a used slot and resets them, instead of giving them back to the kernel. This was the fastest of
/// those tried.
const POOL_TUNED: &str = "pooling-allocator,pooling-memory-keep-resident=1048576,\
                          pooling-table-keep-resident=1048576,pooling-async-stack-keep-resident=1048576,\
                          pooling-pagemap-scan=auto";
/// Requests that one instance of `wasmtime serve` may serve: the highest number that it accepts.
const REUSE_FORCED: &str = "1000000000";
/// How long `wasmtime serve` keeps idle instances: longer than a round takes.
const REUSE_IDLE: &str = "3600s";

/// One server of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Bare hyper, one event loop per core: the limit
    Hyper,
    /// The parser of html-parse natively behind bare hyper: what its guest could be at best
    HyperParse,
    /// wfn with default settings and one always-ready instance
    Wfn,
    /// The same with a fresh worker for each invocation
    WfnFresh,
    /// `wasmtime serve` as it comes: it pools where the address space allows that
    WasmtimeDefault,
    /// `wasmtime serve` told to use the pooling allocator
    WasmtimePooling,
    /// `wasmtime serve` with its pool tuned for fresh instances
    WasmtimeTuned,
    /// `wasmtime serve` with the pooling allocator and reuse of instances forced
    WasmtimeReuse,
    /// workerd with a worker in JavaScript, one process
    Workerd,
    /// Node.js without a sandbox, one process
    Node,
    /// The application of python-html-parse in CPython behind gunicorn, with a synchronous worker for each core
    Gunicorn,
}

/// A peer that serves.
#[derive(Debug)]
pub enum Serving {
    /// A server that is only a process.
    Plain {
        /// The process.
        server: Server,
        /// Where it answers.
        address: SocketAddr,
    },
    /// wfn.
    Wfn(Host),
}

impl Peer {
    /// Every peer, in the order of the table.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Its name in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Hyper => "bare hyper 1.x (the limit)",
            Self::HyperParse => "the same parser natively behind hyper",
            Self::Wfn => "wfn",
            Self::WfnFresh => "wfn, fresh worker per invocation",
            Self::WasmtimeDefault => "wasmtime serve, default",
            Self::WasmtimePooling => "wasmtime serve, pooling",
            Self::WasmtimeTuned => "wasmtime serve, pooling, tuned",
            Self::WasmtimeReuse => "wasmtime serve, pooling, reuse forced",
            Self::Workerd => "workerd, JavaScript",
            Self::Node => "Node.js http, no sandbox",
            Self::Gunicorn => "CPython behind gunicorn, no sandbox",
        }
    }

    /// Whether it is a form of `wasmtime serve`.
    pub fn is_wasmtime(self) -> bool {
        matches!(
            self,
            Self::WasmtimeDefault | Self::WasmtimePooling | Self::WasmtimeTuned | Self::WasmtimeReuse
        )
    }

    /// Whether it runs the guest; the others always answer like the `hello` guest.
    pub fn runs_guests(self) -> bool {
        !matches!(self, Self::Hyper | Self::Workerd | Self::Node)
    }

    /// Whether it can be compared with others that run `guest`.
    pub fn is_for(self, guest: &str) -> bool {
        match self {
            Self::HyperParse => guest == "html-parse",
            Self::Gunicorn => guest == "python-html-parse",
            Self::Workerd | Self::Node => guest.ends_with("hello"),
            _ => true,
        }
    }

    /// What to do if it is not installed; `None` if nothing is missing.
    pub fn missing(self, workspace: &Workspace) -> Result<Option<String>> {
        let shown = |command: Command| {
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        Ok(match self {
            peer if peer.is_wasmtime() && !has_wasmtime(workspace)? => {
                Some(format!("use --install-peers, or {}", shown(install_command(workspace))))
            }
            Self::Workerd if !workerd(workspace).is_file() => Some(format!(
                "npm install --no-package-lock --prefix {} workerd@{WORKERD_VERSION}",
                workspace.peers().display()
            )),
            Self::Node if Command::new("node").arg("--version").output().is_err() => {
                Some("install Node.js 20 or later".to_owned())
            }
            Self::Gunicorn if !gunicorn(workspace).join("gunicorn").is_dir() => Some(format!(
                "python3 -m pip install --target {} gunicorn=={GUNICORN_VERSION}",
                gunicorn(workspace).display()
            )),
            _ => None,
        })
    }

    /// Starts it with `guest`; it is ready when this returns.
    pub fn start(self, workspace: &Workspace, guest: &Path) -> Result<Serving> {
        let started = match self {
            Self::Hyper => {
                let own = std::env::current_exe().context("failed to find this program")?;
                plain(Command::new(own).arg("hyper-server"), "hyper ready: http://")
            }
            Self::HyperParse => {
                let own = std::env::current_exe().context("failed to find this program")?;
                plain(Command::new(own).args(["hyper-server", "--parse"]), "hyper ready: http://")
            }
            Self::Wfn => wfn(workspace, guest, &[]),
            Self::WfnFresh => wfn(workspace, guest, &["--isolation", "fresh"]),
            Self::WasmtimeDefault => wasmtime(workspace, guest, &[]),
            Self::WasmtimePooling => wasmtime(workspace, guest, &["-O", "pooling-allocator"]),
            Self::WasmtimeTuned => wasmtime(workspace, guest, &["-O", POOL_TUNED]),
            Self::WasmtimeReuse => wasmtime(
                workspace,
                guest,
                &[
                    "-O",
                    "pooling-allocator",
                    "--max-instance-reuse-count",
                    REUSE_FORCED,
                    "--idle-instance-timeout",
                    REUSE_IDLE,
                ],
            ),
            Self::Workerd => {
                let mut command = Command::new(workerd(workspace));
                command
                    .arg("serve")
                    .arg(workspace.peer_sources().join("workerd.capnp"))
                    .arg("--control-fd=2");
                ready_when(&mut command, |line| {
                    let said: serde_json::Value = serde_json::from_str(line).ok()?;
                    let port = said["port"].as_u64()?.try_into().ok()?;
                    Some((Ipv4Addr::LOCALHOST, port).into())
                })
            }
            Self::Node => plain(
                Command::new("node").arg(workspace.peer_sources().join("node.mjs")),
                "node ready: http://",
            ),
            Self::Gunicorn => {
                let workers = std::thread::available_parallelism().map_or(1, usize::from).to_string();
                let mut command = Command::new("python3");
                command
                    .args([
                        "-m",
                        "gunicorn",
                        "--bind",
                        "127.0.0.1:0",
                        "--workers",
                        &workers,
                        "app:application",
                    ])
                    .current_dir(workspace.python_example("html-parse"))
                    .env("PYTHONPATH", gunicorn(workspace));
                ready_when(&mut command, |line| {
                    let (_, rest) = line.split_once("Listening at: http://")?;
                    rest.split(' ').next()?.parse().ok()
                })
            }
        };
        started.with_context(|| format!("failed to start {}", self.title()))
    }
}

fn wfn(workspace: &Workspace, guest: &Path, flags: &[&str]) -> Result<Serving> {
    let host = Host::start(workspace)?;
    host.deploy(guest, "hello", &[&["--always-ready", "1"], flags].concat())?;
    Ok(Serving::Wfn(host))
}

fn wasmtime(workspace: &Workspace, guest: &Path, flags: &[&str]) -> Result<Serving> {
    let mut command = Command::new(workspace.peers().join("bin/wasmtime"));
    // The flags for WASI 0.3 cost guests of 0.2 nothing, but they are not the default.
    let is_async = guest.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("async-"));
    let wasi = if is_async { &["-Scli,p3", "-Wcomponent-model-async"][..] } else { &["-Scli"] };
    command.args(["serve", "--addr", "127.0.0.1:0"]).args(wasi).args(flags).arg(guest);
    plain(&mut command, "Serving HTTP on http://")
}

/// Starts a server that prints its address after `ready`.
fn plain(command: &mut Command, ready: &'static str) -> Result<Serving> {
    ready_when(command, move |line| {
        let (_, address) = line.split_once(ready)?;
        address.trim().trim_end_matches('/').parse().ok()
    })
}

/// Starts a server that prints a line in which `address` finds the address where it answers.
fn ready_when(
    command: &mut Command,
    address: impl Fn(&str) -> Option<SocketAddr> + Send + 'static,
) -> Result<Serving> {
    let (server, address) = Server::start(command, address)?;
    Ok(Serving::Plain { server, address })
}

/// Path of the program itself, not of the script that starts it, because its CPU time is measured.
fn workerd(workspace: &Workspace) -> PathBuf {
    workspace.peers().join("node_modules/@cloudflare/workerd-linux-64/bin/workerd")
}

/// The folder with gunicorn's package.
fn gunicorn(workspace: &Workspace) -> PathBuf {
    workspace.peers().join("gunicorn")
}

impl Serving {
    /// The process.
    pub fn server(&self) -> &Server {
        match self {
            Self::Plain { server, .. } => server,
            Self::Wfn(host) => host.server(),
        }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Plain { address, .. } => *address,
            Self::Wfn(host) => host.functions(),
        }
    }

    /// The path that leads to the guest's root.
    pub fn path(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "/",
            Self::Wfn(_) => "/hello/",
        }
    }

    /// Stops it with SIGTERM.
    pub fn stop(self) -> Result<()> {
        match self {
            Self::Plain { server, .. } => server.stop(),
            Self::Wfn(host) => host.stop(),
        }
    }
}

/// The command that installs wasmtime.
pub fn install_command(workspace: &Workspace) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["install", "wasmtime-cli", "--version", WASMTIME_VERSION, "--locked", "--root"])
        .arg(workspace.peers());
    command
}

/// Whether the right version of wasmtime is installed. The error says what is wrong with the one that is installed.
fn has_wasmtime(workspace: &Workspace) -> Result<bool> {
    let path = workspace.peers().join("bin/wasmtime");
    if !path.is_file() {
        return Ok(false);
    }
    let output = Command::new(&path).arg("--version").output().context("failed to start wasmtime")?;
    let version = String::from_utf8_lossy(&output.stdout);
    if !version.split_whitespace().any(|word| word == WASMTIME_VERSION) {
        bail!("{} is {}, not {WASMTIME_VERSION}: remove it", path.display(), version.trim());
    }
    Ok(true)
}
