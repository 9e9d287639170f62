//! A `wfn up` as a child process: started, awaited until it is ready, stopped.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// How long the host may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long the host may take to stop when asked to.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);

/// What the host prints on stderr before its two addresses.
const READY: &str = "wfn ready: functions on ";

/// A running host. Dropped while it runs, it is killed.
#[derive(Debug)]
pub(crate) struct Host {
    child: Child,
    /// Where functions answer, for example `http://127.0.0.1:40123`.
    pub(crate) functions_url: String,
    /// Where `wfn deploy --server` goes.
    pub(crate) admin_url: String,
}

impl Host {
    /// Starts `wfn up` on free ports with its state in `data_dir`, and waits until it is ready.
    pub(crate) fn start(wfn: &Path, data_dir: &Path) -> Result<Self> {
        let mut up = Command::new(wfn);
        up.args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = up.spawn().with_context(|| format!("failed to start {}", wfn.display()))?;
        let stderr = child.stderr.take();
        // From here on a failure kills the child: it has an owner.
        let mut host = Self { child, functions_url: String::new(), admin_url: String::new() };
        let stderr = stderr.context("the host's stderr is not piped")?;
        let (found, ready) = mpsc::channel();
        thread::spawn(move || pass_on(stderr, &found));
        (host.functions_url, host.admin_url) = await_ready(&ready)?;
        Ok(host)
    }

    /// Asks the host to stop and waits for its end.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        process::run(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()))?;
        let until = Instant::now() + STOPPED_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().context("failed to await the host")? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("the host still runs {} s after SIGTERM", STOPPED_WITHIN.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both fail only if the host has ended already, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the addresses; the channel's end means the host's end.
fn await_ready(ready: &Receiver<(String, String)>) -> Result<(String, String)> {
    match ready.recv_timeout(READY_WITHIN) {
        Ok(urls) => Ok(urls),
        Err(RecvTimeoutError::Timeout) => {
            bail!("the host was not ready within {} s", READY_WITHIN.as_secs())
        }
        Err(RecvTimeoutError::Disconnected) => bail!("the host ended before it was ready"),
    }
}

/// Shows each line that the host prints and reports the one that says it is ready.
fn pass_on(stderr: ChildStderr, found: &Sender<(String, String)>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        eprintln!("  host | {line}");
        if let Some(urls) = ready_urls(&line) {
            // Nobody listens any more after the first one, or after the deadline.
            let _ = found.send(urls);
        }
    }
}

/// The two addresses in the host's ready line.
fn ready_urls(line: &str) -> Option<(String, String)> {
    let (_, urls) = line.split_once(READY)?;
    let (functions, admin) = urls.split_once(", admin API on ")?;
    Some((functions.trim().to_owned(), admin.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::ready_urls;

    #[test]
    fn ready_line_names_both_addresses() {
        let line = "wfn ready: functions on http://127.0.0.1:4001, admin API on http://127.0.0.1:4002";
        let expected = ("http://127.0.0.1:4001".to_owned(), "http://127.0.0.1:4002".to_owned());
        assert_eq!(ready_urls(line), Some(expected));
        assert_eq!(ready_urls("wfn starting"), None);
    }
}
