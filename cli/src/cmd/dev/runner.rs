//! Runs build commands one after another, each in a process group of its own that can be ended from outside.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// How long a build that was asked to end may take before it is killed.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Runs builds until it is stopped.
#[derive(Default)]
pub struct Runner {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// The group of the build that runs. Invariant: its leader has not been reaped, so the number is not
    /// another process's.
    group: Option<Pid>,
    stopped: bool,
}

impl Runner {
    /// Runs `command` to its end; `None` if the runner was stopped before or meanwhile.
    pub fn run(&self, command: &mut Command) -> io::Result<Option<ExitStatus>> {
        // A group in the background must not read from the terminal.
        command.stdin(Stdio::null()).process_group(0);
        let mut child = {
            let mut state = self.state.lock();
            if state.stopped {
                return Ok(None);
            }
            let child = command.spawn()?;
            state.group = Some(pid(&child));
            child
        };
        let ended = loop {
            // Leaves it unreaped, so that nobody else can get its number while it may still be signalled.
            match waitid(WaitId::Pid(pid(&child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other,
            }
        };
        let mut state = self.state.lock();
        if let Some(group) = state.group.take() {
            // What a build leaves behind ends with it; most often there is nothing.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait();
        self.ended.notify_all();
        ended?;
        let status = status?;
        Ok((!state.stopped).then_some(status))
    }

    /// Runs nothing any more, and ends what runs.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        let Some(group) = state.group else { return };
        // It may have ended just now.
        let _ = kill_process_group(group, Signal::TERM);
        let deadline = Instant::now() + END_PATIENCE;
        while state.group.is_some() && !self.ended.wait_until(&mut state, deadline).timed_out() {}
        drop(state);
        self.kill();
    }

    /// Ends what runs at once, without asking it.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        if let Some(group) = state.group {
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::sync::Arc;

    fn shell(line: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(line);
        command
    }

    #[test]
    fn a_build_ends_with_its_code_and_leaves_nothing() {
        let runner = Runner::default();
        let code = |line: &str| runner.run(&mut shell(line)).unwrap().unwrap().code();
        assert_eq!(code("exit 3"), Some(3));
        // The pipe ends only when the process left behind has ended, too.
        let (mut reader, writer) = io::pipe().unwrap();
        let mut command = shell("sleep 600 & exit 0");
        command.stdout(writer);
        assert_eq!(runner.run(&mut command).unwrap().unwrap().code(), Some(0));
        drop(command);
        let mut written = String::new();
        reader.read_to_string(&mut written).unwrap();
        assert_eq!(written, "");
    }

    #[test]
    fn a_stopped_runner_ends_what_runs_and_runs_nothing_more() {
        let runner = Arc::new(Runner::default());
        let (mut reader, writer) = io::pipe().unwrap();
        let running = {
            let runner = runner.clone();
            // Does not end at being asked to.
            let mut command = shell("trap '' TERM; echo deaf; while :; do sleep 600; done");
            command.stdout(writer);
            std::thread::spawn(move || runner.run(&mut command))
        };
        let mut said = [0; 5];
        reader.read_exact(&mut said).unwrap();
        runner.stop();
        assert!(running.join().unwrap().unwrap().is_none());
        assert!(runner.run(&mut shell("exit 0")).unwrap().is_none());
    }
}
