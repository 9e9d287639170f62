//! Runs servers as child processes: starts them and waits until they are ready, reads `/proc`, and stops them.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take until it says that it is ready; a debug build compiles guests slowly.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a server may take to end after SIGTERM: wfn drains for up to 30 s.
const STOPPED_WITHIN: Duration = Duration::from_secs(40);
/// How many of the last lines of a server an error repeats.
const LINES_KEPT: usize = 20;

/// A server that runs. Dropped while it runs, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Server {
    /// Starts `command` and waits for the line on its stderr in which `ready` finds what it looks for. Other lines are
    /// not printed.
    pub fn start<T: Send + 'static>(
        command: &mut Command,
        ready: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> Result<(Self, T)> {
        let (mut server, stderr) = Self::spawn(command)?;
        let (found, wait) = mpsc::channel();
        let lines = server.lines.clone();
        thread::spawn(move || read_lines(stderr, &lines, &found, ready));
        match wait.recv_timeout(READY_WITHIN) {
            Ok(found) => Ok((server, found)),
            Err(RecvTimeoutError::Timeout) => {
                bail!("it was not ready within {} s:\n{}", READY_WITHIN.as_secs(), server.last_lines())
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = server.child.wait().context("failed to await its end")?;
                bail!("it ended before it was ready ({status}):\n{}", server.last_lines())
            }
        }
    }

    /// Starts `command` without waiting for anything.
    pub fn start_unready(command: &mut Command) -> Result<Self> {
        let (server, stderr) = Self::spawn(command)?;
        let lines = server.lines.clone();
        thread::spawn(move || read_lines::<()>(stderr, &lines, &mpsc::channel().0, |_| None));
        Ok(server)
    }

    fn spawn(command: &mut Command) -> Result<(Self, ChildStderr)> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            // The settings of the user would change what is measured.
            if name.to_string_lossy().starts_with("WFN_") {
                command.env_remove(name);
            }
        }
        let program = command.get_program().to_owned();
        let mut child =
            command.spawn().with_context(|| format!("failed to start {}", program.to_string_lossy()))?;
        let stderr = child.stderr.take().context("its stderr is not piped")?;
        Ok((Self { child, lines: Arc::default() }, stderr))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines it printed.
    pub fn last_lines(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("  | {line}\n")).collect()
    }

    /// CPU time of all its threads so far, in user and kernel mode.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = self.proc_file("stat")?;
        // The name, in parentheses, may contain spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // Fields 14 and 15 of proc(5); the first one after the name is field 3.
        let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        let (user, system) = (ticks(14), ticks(15));
        let ticks = user.zip(system).map(|(user, system)| user + system).context("/proc/PID/stat is odd")?;
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Memory it has in RAM, in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = self.proc_file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(kilobytes.context("/proc/PID/status has no VmRSS")? * 1024)
    }

    fn proc_file(&self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))
    }

    /// Asks it to end and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let until = Instant::now() + STOPPED_WITHIN;
        while self.is_running() {
            if Instant::now() > until {
                bail!("it still runs {} s after SIGTERM", STOPPED_WITHIN.as_secs());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Kills it, like a power cut.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("failed to kill it")?;
        self.child.wait().context("failed to await its end")?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        signal_child(&self.child, signal)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends `signal` to a child that has not been waited for.
pub fn signal_child(child: &Child, signal: Signal) -> Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("it has no process id")?;
    kill_process(pid, signal).context("failed to signal it")
}

/// Reads to the end, so that the server never waits for a reader of its lines.
fn read_lines<T>(
    stderr: ChildStderr,
    kept: &Mutex<VecDeque<String>>,
    found: &Sender<T>,
    ready: impl Fn(&str) -> Option<T>,
) {
    let mut waiting = true;
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if waiting && let Some(what) = ready(&line) {
            waiting = false;
            // The receiver may have given up.
            let _ = found.send(what);
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}
