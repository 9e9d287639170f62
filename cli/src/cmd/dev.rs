//! `wfn dev`: a host of its own, and a function that is built, deployed and watched, all in one terminal.

mod changes;
mod follower;
mod runner;
mod session;
mod watched;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tempfile::TempDir;
use tokio::runtime::{self, Runtime};
use wfn_manifest::names::AppName;
use wfn_runtime::config::HostConfig;
use wfn_runtime::host::{Host, StartError};

use crate::cmd::deploy::source;
use crate::cmd::dev::follower::Follower;
use crate::cmd::dev::session::{Control, Session};
use crate::cmd::up::address::address;
use crate::cmd::up::{self, Stops};
use crate::failure::{Done, Failure, WhileDoing};
use crate::host_log::log_to_stderr;
use crate::output::say;
use crate::project::Project;
use crate::settings::Global;

/// What the host logs here if `WFN_LOG` does not say: the terminal belongs to the function.
const LOG_DEFAULT: &str = "warn";
/// How long blocking work may go on after the host has ended.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// Arguments of `wfn dev`.
#[derive(Debug, Args)]
#[command(after_help = "\
Runs the build command of wfn.toml, serves the module, and does so again whenever a watched file changes.
What does not build or cannot be deployed is shown; the version before goes on serving.
Without --data-dir all state is temporary. Ctrl-C ends everything.")]
pub struct Dev {
    /// The folder of a wfn.toml, or that file
    #[arg(value_name = "DIR", default_value = ".")]
    target: PathBuf,

    /// Where the function answers [default: 127.0.0.1:8080, or a free port]
    #[arg(long, value_name = "ADDR", env = "WFN_LISTEN", value_parser = address, hide_env_values = true)]
    listen: Option<SocketAddr>,

    /// Where the admin API answers [default: 127.0.0.1:8081, or a free port]
    #[arg(long, value_name = "ADDR", env = "WFN_ADMIN", value_parser = address, hide_env_values = true)]
    admin: Option<SocketAddr>,
}

impl Dev {
    /// Serves the function until it is told to stop.
    pub fn run(self, global: &Global) -> Done {
        let project =
            Project::find(&self.target).while_doing(|| format!("develop {}", self.target.display()))?;
        let name = source::name(&project.file)?;
        log_to_stderr(LOG_DEFAULT, false)?;
        let state = State::of(global)?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
        let done = self.serve(&runtime, &state, &project, name, global.json);
        runtime.shutdown_timeout(RUNTIME_END);
        done
    }

    fn serve(&self, runtime: &Runtime, state: &State, project: &Project, name: AppName, json: bool) -> Done {
        runtime.block_on(async {
            let mut stops = Stops::new().map_err(Failure::new)?;
            let host = self.start(state.path()).await.while_doing(|| "start".to_owned())?;
            let client = up::own_client(host.admin_address(), state.path())?;
            let control = Arc::new(Control::default());
            let session = Session {
                file: project.file.clone(),
                url: format!("http://{}/{name}/", up::reachable(host.functions_address())),
                follower: Follower::new(client.clone(), name.clone(), json),
                control: control.clone(),
                client,
                name,
            };
            let flags = up::flags_of_clients(host.admin_address(), state.path());
            say(&format!("wfn dev: Ctrl-C ends it; other commands reach it with{flags}"));
            let mut session = tokio::task::spawn_blocking({
                let project = project.clone();
                move || session.run(&project)
            });
            let ended = tokio::select! {
                ended = &mut session => Some(ended),
                () = stops.next() => None,
            };
            let finish = async {
                let ended = match ended {
                    Some(ended) => ended,
                    None => {
                        say("stopping; a second signal stops at once");
                        // Waits for the build to end, which the session waits for as well.
                        let stopping = tokio::task::spawn_blocking({
                            let control = control.clone();
                            move || control.stop()
                        });
                        let ended = session.await;
                        // A panic in it is one in the session, too.
                        let _ = stopping.await;
                        ended
                    }
                };
                host.shut_down().await;
                ended.map_err(Failure::new)?
            };
            tokio::select! {
                done = finish => done,
                () = stops.next() => {
                    control.kill();
                    Err(Failure::new("stopped at once"))
                }
            }
        })
    }

    /// Starts the host; where a default port is taken it has another.
    async fn start(&self, data_dir: &Path) -> Done<Host> {
        let mut config = HostConfig::new(data_dir.to_owned());
        config.keep_functions = true;
        config.listen = self.listen.unwrap_or(config.listen);
        config.admin = self.admin.unwrap_or(config.admin);
        loop {
            let (address, flag) = match Host::start(&config).await {
                Ok(host) => return Ok(host),
                Err(StartError::Listen { address, flag, error }) if error.kind() == ErrorKind::AddrInUse => {
                    (address, flag)
                }
                Err(error) => return Err(Failure::new(error)),
            };
            let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            match flag {
                "--listen" if self.listen.is_none() && address.port() != 0 => config.listen = free,
                "--admin" if self.admin.is_none() && address.port() != 0 => config.admin = free,
                _ => {
                    return Err(Failure::new(format!("{address} is taken")).remedy(format!("another {flag}")));
                }
            }
            say(&format!("{address} is taken: using a free port (choose one with {flag})"));
        }
    }
}

/// Where the host keeps its state.
enum State {
    /// For this run alone; removed when dropped.
    Temporary(TempDir),
    /// What the user named.
    Kept(PathBuf),
}

impl State {
    fn of(global: &Global) -> Done<Self> {
        if let Some(given) = global.given_data_dir() {
            return Ok(Self::Kept(given));
        }
        let temporary = tempfile::Builder::new().prefix("wfn-dev-").tempdir();
        temporary
            .map(Self::Temporary)
            .map_err(|error| Failure::new(format!("no temporary folder: {error}")).remedy("--data-dir DIR"))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}
