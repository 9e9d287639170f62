//! Reads bytes from outside in a child process of this binary, with limits. Hostile input can make a reader use minutes and
//! gigabytes, or fail in unexpected ways, and the host must not suffer from that.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;
use crate::text::plain;

/// A kind of work for a child, and its limits.
#[derive(Debug)]
pub struct ChildJob {
    /// The hidden subcommand of the binary that does it.
    pub command: &'static str,
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// CPU time, in seconds.
    pub cpu_seconds: u64,
    /// Length of each file it writes, in bytes.
    pub file_bytes: u64,
    /// Time by the clock.
    pub time: Duration,
}

/// How far a child is with its job.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    /// How long it has taken so far.
    pub elapsed: Duration,
    /// The share of its work that it says is done, from 0 to 1. 0 if it says nothing.
    pub done: f64,
}

/// Why a child has given no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It exceeded a limit of its job; the text says which.
    #[error("it takes more than {0}")]
    TooCostly(String),
    /// It failed in an unexpected way; the text is the end of its output.
    #[error("it failed: {0}")]
    Failed(String),
    /// It could not be run.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How often the parent looks whether the child is done.
const POLL: Duration = Duration::from_millis(5);
/// From one report of progress to the next.
const PROGRESS_PERIOD: Duration = Duration::from_millis(500);
/// In how many parts a child divides its work to say what is done ([`report`]).
const PARTS: u32 = 1_000;
/// The exit code of a child that panicked.
const EXIT_PANIC: i32 = 101;

impl ChildJob {
    /// Runs the job in a child with `arguments` and gives its answer. Blocks; `progress` is told about every half second
    /// how far it is.
    pub fn run<A: DeserializeOwned>(
        &self,
        arguments: &[&OsStr],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<A, NoAnswer> {
        let mut child = RunningChild(
            Command::new("/proc/self/exe")
                .arg(self.command)
                .args(arguments)
                .env_clear()
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?,
        );
        // Read while it runs: it would wait for ever on a pipe that is full.
        let parts = Arc::<AtomicU32>::default();
        let answer = drain(child.0.stdout.take(), parts.clone())?;
        let last_words = drain(child.0.stderr.take(), Arc::default())?;
        let done = || f64::from(parts.load(Ordering::Relaxed).min(PARTS)) / f64::from(PARTS);
        let progress = &mut |elapsed| progress(Progress { elapsed, done: done() });
        let Some(status) = self.wait(&mut child.0, progress)? else {
            return Err(NoAnswer::TooCostly(format!("{} s", self.time.as_secs())));
        };
        if status.success() {
            return serde_json::from_slice(&read(answer)).map_err(|error| io::Error::from(error).into());
        }
        Err(self.ended(status, &read(last_words)))
    }

    /// Waits for the child; `None` if its time was over and it has been killed.
    fn wait(
        &self,
        child: &mut Child,
        progress: &mut dyn FnMut(Duration),
    ) -> Result<Option<ExitStatus>, io::Error> {
        let begun = Instant::now();
        let mut reported = Duration::ZERO;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            let elapsed = begun.elapsed();
            if elapsed > self.time {
                return Ok(None);
            }
            if elapsed - reported >= PROGRESS_PERIOD {
                reported = elapsed;
                progress(elapsed);
            }
            thread::sleep(POLL);
        }
    }

    /// What a child that gave no answer met.
    fn ended(&self, status: ExitStatus, last_words: &[u8]) -> NoAnswer {
        let megabytes = |bytes: u64| bytes / limits::MEBIBYTE;
        let signal = |signal: Signal| status.signal() == Some(signal.as_raw());
        let said = || plain(&String::from_utf8_lossy(last_words));
        if status.code() == Some(EXIT_PANIC) {
            NoAnswer::Failed(said())
        } else if status.code().is_some() {
            NoAnswer::Io(io::Error::other(said()))
        } else if signal(Signal::XFSZ) {
            NoAnswer::TooCostly(format!("{} MB in one file", megabytes(self.file_bytes)))
        } else if signal(Signal::XCPU) {
            NoAnswer::TooCostly(format!("{} s of CPU time", self.cpu_seconds))
        } else {
            // Out of memory ends in an abort, out of stack too.
            let (memory, cpu) = (megabytes(self.memory_bytes), self.cpu_seconds);
            NoAnswer::TooCostly(format!("{memory} MB of memory or {cpu} s of CPU time"))
        }
    }

    /// What the child does: limits itself, works, and says the answer. Gives its exit code.
    pub fn work<A: Serialize>(&self, work: impl FnOnce() -> A) -> i32 {
        let answered = self.limit_self().and_then(|()| {
            // A panic has said what it is; the parent reads it.
            let Ok(answer) = panic::catch_unwind(AssertUnwindSafe(work)) else { return Ok(EXIT_PANIC) };
            io::stdout().write_all(&serde_json::to_vec(&answer)?)?;
            Ok(0)
        });
        answered.unwrap_or_else(|error| {
            eprintln!("{error}");
            1
        })
    }

    fn limit_self(&self) -> io::Result<()> {
        let limit =
            |resource, value| setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) });
        limit(Resource::As, self.memory_bytes)?;
        // First a signal that says why, then one that nobody survives.
        let (current, maximum) = (Some(self.cpu_seconds), Some(self.cpu_seconds + 1));
        setrlimit(Resource::Cpu, Rlimit { current, maximum })?;
        limit(Resource::Fsize, self.file_bytes)?;
        limit(Resource::Nofile, 64)?;
        limit(Resource::Core, 0)?;
        // Nobody waits for the result of a host that was killed.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // A deploy must not slow down what is being served.
        rustix::process::nice(10)?;
        Ok(())
    }
}

/// A child that is ended, and waited for, when nobody needs it any more.
struct RunningChild(Child);

impl Drop for RunningChild {
    fn drop(&mut self) {
        // Most often it has ended, and has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says, in the child, that `done` of `all` is done. `said` is what was said before.
pub fn report(done: usize, all: usize, said: &AtomicU32) {
    let part = u32::try_from(done.min(all) * PARTS as usize / all.max(1)).unwrap_or(PARTS);
    if said.fetch_max(part, Ordering::Relaxed) < part {
        // Where nobody reads it, the work goes on.
        let _ = writeln!(io::stdout(), "{part}");
    }
}

/// Reads to the end, and keeps the beginning, without the lines of [`report`]: those set `parts`.
fn drain(pipe: Option<impl Read + Send + 'static>, parts: Arc<AtomicU32>) -> io::Result<JoinHandle<Vec<u8>>> {
    thread::Builder::new().name("wfn-child".into()).spawn(move || {
        let mut kept = Vec::new();
        if let Some(pipe) = pipe {
            let mut pipe = BufReader::new(pipe).take(limits::CHILD_ANSWER_BYTES_MAX);
            let mut line = Vec::new();
            // What cannot be read is missing, and the child's end says what happened.
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                match str::from_utf8(&line).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok()) {
                    Some(part) => drop(parts.fetch_max(part, Ordering::Relaxed)),
                    None => kept.extend_from_slice(&line),
                }
                line.clear();
            }
            let _ = io::copy(&mut pipe.into_inner(), &mut io::sink());
        }
        kept
    })
}

fn read(drained: JoinHandle<Vec<u8>>) -> Vec<u8> {
    // A panic of that thread leaves nothing to read.
    drained.join().unwrap_or_default()
}

/// An error of the system on its way from the child to its parent.
pub mod io_error {
    use std::io;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Its number, or its words where it has none.
    pub fn serialize<S: Serializer>(error: &io::Error, serializer: S) -> Result<S::Ok, S::Error> {
        (error.raw_os_error(), super::plain(&error.to_string())).serialize(serializer)
    }

    /// The same error again.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<io::Error, D::Error> {
        let (number, words) = <(Option<i32>, String)>::deserialize(deserializer)?;
        Ok(number.map_or_else(|| io::Error::other(words), io::Error::from_raw_os_error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_becomes_plain_and_short() {
        assert_eq!(plain(" it's \"x\"\nnext\n"), "it's \"x\"\nnext");
        assert_eq!(plain("a\u{1b}[2Jb\u{202e}c\rd\0"), "a\\u{1b}[2Jb\\u{202e}c\\rd\\0");
        let long = plain(&"ä".repeat(100_000));
        assert_eq!(long.chars().count(), limits::MESSAGE_CHARS_MAX + 1);
    }

    #[test]
    fn an_error_of_the_system_stays_what_it_is() {
        #[derive(Serialize, serde::Deserialize)]
        struct Said(#[serde(with = "io_error")] io::Error);
        let carried = |error: io::Error| {
            let text = serde_json::to_string(&Said(error)).unwrap();
            serde_json::from_str::<Said>(&text).unwrap().0
        };
        let full = rustix::io::Errno::NOSPC;
        assert_eq!(carried(full.into()).kind(), io::ErrorKind::StorageFull);
        assert_eq!(carried(io::Error::other("neither")).to_string(), "neither");
    }
}
