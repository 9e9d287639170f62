//! Runs wfn as its users do: `wfn up` as a process, and everything else through the command line.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::client::{Connection, Request};
use crate::process::Server;
use crate::workspace::{DataDir, Workspace};

/// What `wfn up` prints on stderr before its two addresses.
const READY: &str = "wfn ready: functions on http://";
/// What stands between them.
const ADMIN: &str = ", admin API on http://";
/// Memory class of an instance that asks for nothing, in MB.
const CLASS_MB: u64 = 2_048;

/// A running host with a data directory of its own.
#[derive(Debug)]
pub struct Host {
    // Before the data directory, so that the process has ended when the directory is removed.
    server: Server,
    functions: SocketAddr,
    admin: SocketAddr,
    wfn: PathBuf,
    data_dir: DataDir,
}

impl Host {
    /// Starts a host with default settings.
    pub fn start(workspace: &Workspace) -> Result<Self> {
        Self::start_for(workspace, 0)
    }

    /// Starts a host whose memory quota is enough for `instances`, if the default is not.
    pub fn start_for(workspace: &Workspace, instances: u64) -> Result<Self> {
        let wfn = workspace.wfn()?.to_owned();
        let data_dir = workspace.data_dir()?;
        let mut command = up(&wfn, data_dir.path(), ["127.0.0.1:0", "127.0.0.1:0"]);
        let needed_mb = instances * CLASS_MB;
        if needed_mb > 512_000 {
            command.arg("--memory-quota-mb").arg(needed_mb.to_string());
        }
        let started = Server::start(&mut command, ready_addresses);
        let (server, (functions, admin)) = started.context("failed to start wfn")?;
        Ok(Self { server, functions, admin, wfn, data_dir })
    }

    /// Where functions answer.
    pub fn functions(&self) -> SocketAddr {
        self.functions
    }

    /// The process.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A connection to the admin API, for calls that are too frequent to start a command for each.
    pub fn admin(&self) -> Result<Admin> {
        Ok(Admin { connection: Connection::open_when_ready(self.admin)?, token: self.token()? })
    }

    /// Where the admin API is, and the token, for many connections.
    pub fn admin_access(&self) -> Result<(SocketAddr, String)> {
        Ok((self.admin, self.token()?))
    }

    fn token(&self) -> Result<String> {
        let path = self.data_dir.path().join("token");
        let token =
            fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(token.trim().to_owned())
    }

    /// Runs `wfn ARGUMENTS --json` against this host and reads what it prints.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Value> {
        let token = self.token()?;
        let mut command = Command::new(&self.wfn);
        command
            .args(arguments)
            .args(["--json", "--server", &format!("http://{}", self.admin), "--token", &token])
            .stdin(Stdio::null());
        let output = command.output().context("failed to start wfn")?;
        if !output.status.success() {
            let arguments: Vec<_> = command.get_args().map(|text| text.to_string_lossy()).collect();
            let shown = arguments.split(|text| *text == "--json").next().unwrap_or_default().join(" ");
            bail!("'wfn {shown}' failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("wfn did not print JSON")
    }

    /// Deploys `module` as `app` with `flags`. Returns the answer of the host.
    pub fn deploy(&self, module: &Path, app: &str, flags: &[&str]) -> Result<Value> {
        let module = module.to_string_lossy();
        let arguments = ["deploy", module.as_ref(), "--name", app];
        self.command(arguments.into_iter().chain(flags.iter().copied()))
    }

    /// The scale group of `app` as `wfn status` shows it.
    pub fn group(&self, app: &str) -> Result<Value> {
        let status = self.command(["status", app])?;
        Ok(status["groups"][0].clone())
    }

    /// Kills it, like a power cut. Its state stays.
    pub fn kill(self) -> Result<DataDir> {
        self.server.kill().context("failed to kill wfn")?;
        Ok(self.data_dir)
    }

    /// Stops it with SIGTERM.
    pub fn stop(self) -> Result<()> {
        let Self { server, data_dir, .. } = self;
        let stopped = server.stop().context("failed to stop wfn");
        drop(data_dir);
        stopped
    }
}

/// The admin API of a host.
#[derive(Debug)]
pub struct Admin {
    connection: Connection,
    token: String,
}

impl Admin {
    /// The answer to a GET of `path`, as JSON.
    pub fn get(&mut self, path: &str) -> Result<Value> {
        let request = Request { token: Some(self.token.clone()), ..Request::get(path) };
        let (answer, _) = self.connection.call(&request)?;
        serde_json::from_slice(&answer.ok()?).context("the admin API did not answer JSON")
    }
}

/// The command that starts a host on `[functions, admin]` with its state in `data_dir`.
pub fn up(wfn: &Path, data_dir: &Path, [functions, admin]: [&str; 2]) -> Command {
    let mut command = Command::new(wfn);
    command.args(["up", "--listen", functions, "--admin", admin, "--data-dir"]).arg(data_dir);
    command
}

/// The two addresses in the host's ready line.
pub fn ready_addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (functions, admin) = line.split_once(READY)?.1.split_once(ADMIN)?;
    Some((functions.trim().parse().ok()?, admin.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::ready_addresses;

    #[test]
    fn the_ready_line_names_both_addresses() {
        let line = "wfn ready: functions on http://127.0.0.1:4001, admin API on http://127.0.0.1:4002";
        let expected = ("127.0.0.1:4001".parse().unwrap(), "127.0.0.1:4002".parse().unwrap());
        assert_eq!(ready_addresses(line), Some(expected));
        assert_eq!(ready_addresses("wfn starting"), None);
    }
}
