//! Holds the log of an app: lines, each with its invocation, in bounded memory and at a bounded rate.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::clock;
use crate::invocation::InvocationId;
use crate::limits;
use crate::names::RevisionId;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// The guest's standard output.
    Stdout,
    /// The guest's standard error.
    Stderr,
    /// The host, about this app: traps, refusals, changes.
    Host,
}

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogLine {
    /// Counts up per app without gaps; a gap in what a reader gets means that lines were dropped.
    pub sequence: u64,
    /// Milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// Where it came from.
    pub stream: LogStream,
    /// The invocation it belongs to, if any.
    pub invocation: Option<String>,
    /// The revision that was running.
    pub revision: RevisionId,
    /// The text, without its line end; invalid UTF-8 is replaced.
    pub text: String,
}

/// The log of one app: the latest lines within [`limits::LOG_LINES_MAX`] and [`limits::LOG_BYTES_MAX`].
#[derive(Default)]
pub struct AppLog {
    lines: Mutex<Lines>,
    grown: Notify,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<LogLine>,
    bytes: usize,
    next: u64,
    guest: Budget,
    host: Budget,
}

/// What was written within a second, by guests or about them. It limits what a flood of lines costs the host.
#[derive(Default)]
struct Budget {
    second: u64,
    lines: u32,
    bytes: usize,
    /// Lines that were dropped and not reported yet.
    dropped: u64,
    dropped_ever: u64,
}

impl Budget {
    /// Whether a line of `bytes` may be kept in `second`.
    fn admits(&mut self, second: u64, bytes: usize) -> bool {
        if second != self.second {
            (self.second, self.lines, self.bytes) = (second, 0, 0);
        }
        self.lines += 1;
        self.bytes += bytes;
        let admitted =
            self.lines <= limits::LOG_LINES_PER_SECOND && self.bytes <= limits::LOG_BYTES_PER_SECOND;
        self.dropped += u64::from(!admitted);
        self.dropped_ever += u64::from(!admitted);
        admitted
    }
}

impl AppLog {
    /// Adds a line.
    pub fn push(
        &self,
        stream: LogStream,
        invocation: Option<InvocationId>,
        revision: RevisionId,
        text: String,
    ) {
        let time_ms = clock::now_ms();
        let invocation = invocation.map(|id| id.to_string());
        {
            let mut lines = self.lines.lock();
            // Reported at the place where the lines are missing.
            lines.tell_of_dropped(time_ms, revision);
            lines.push(time_ms, stream, invocation, revision, text);
        }
        self.grown.notify_waiters();
    }

    /// Whether a line of `bytes` from `stream` may be written now. One that may not is counted as dropped.
    pub fn admits(&self, stream: LogStream, bytes: usize) -> bool {
        let second = clock::now_ms() / 1_000;
        let lines = &mut *self.lines.lock();
        let budget = if stream == LogStream::Host { &mut lines.host } else { &mut lines.guest };
        budget.admits(second, bytes)
    }

    /// Returns the number of lines that were dropped because too many were written at once.
    pub fn dropped(&self) -> u64 {
        let lines = self.lines.lock();
        lines.guest.dropped_ever + lines.host.dropped_ever
    }

    /// Reports dropped lines if nothing was written since.
    pub fn tell_of_dropped(&self, revision: RevisionId) {
        let now_ms = clock::now_ms();
        let told = {
            let mut lines = self.lines.lock();
            let is_over = lines.guest.second.max(lines.host.second) < now_ms / 1_000;
            is_over && lines.tell_of_dropped(now_ms, revision)
        };
        if told {
            self.grown.notify_waiters();
        }
    }

    /// The kept lines from `sequence` on, at most `count`.
    pub fn from(&self, sequence: u64, count: usize) -> Vec<LogLine> {
        let lines = self.lines.lock();
        let first = lines.next - lines.kept.len() as u64;
        let skip = sequence.saturating_sub(first) as usize;
        lines.kept.iter().skip(skip).take(count).cloned().collect()
    }

    /// Returns the kept lines for which `is_wanted` is true.
    pub fn filtered(&self, is_wanted: impl Fn(&LogLine) -> bool) -> Vec<LogLine> {
        self.lines.lock().kept.iter().filter(|line| is_wanted(line)).cloned().collect()
    }

    /// Returns the sequence number of the first of the last `count` lines.
    pub fn tail(&self, count: usize) -> u64 {
        let lines = self.lines.lock();
        lines.next - lines.kept.len().min(count) as u64
    }

    /// Waits until there is a line from `sequence` on.
    pub async fn reached(&self, sequence: u64) {
        loop {
            let grown = self.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            if self.lines.lock().next > sequence {
                return;
            }
            grown.await;
        }
    }
}

impl Lines {
    /// Reports how many lines were dropped since its last report. Returns whether there were any.
    fn tell_of_dropped(&mut self, now_ms: u64, revision: RevisionId) -> bool {
        let dropped = std::mem::take(&mut self.guest.dropped) + std::mem::take(&mut self.host.dropped);
        if dropped == 0 {
            return false;
        }
        let (lines, mebibytes) = (limits::LOG_LINES_PER_SECOND, limits::LOG_BYTES_PER_SECOND >> 20);
        let were = if dropped == 1 { "line was" } else { "lines were" };
        let text = format!(
            "{dropped} {were} dropped here: more than {lines} lines or {mebibytes} MiB came within a second"
        );
        self.push(now_ms, LogStream::Host, None, revision, text);
        true
    }

    fn push(
        &mut self,
        time_ms: u64,
        stream: LogStream,
        invocation: Option<String>,
        revision: RevisionId,
        text: String,
    ) {
        let sequence = self.next;
        self.next += 1;
        self.bytes += text.len();
        self.kept.push_back(LogLine { sequence, time_ms, stream, invocation, revision, text });
        while self.kept.len() > limits::LOG_LINES_MAX || self.bytes > limits::LOG_BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_keeps_the_latest_lines_within_bounds() {
        let log = AppLog::default();
        for i in 0..limits::LOG_LINES_MAX + 10 {
            log.push(LogStream::Host, None, RevisionId(1), i.to_string());
        }
        let kept = log.from(0, usize::MAX);
        assert_eq!(kept.len(), limits::LOG_LINES_MAX);
        assert_eq!(kept[0].sequence, 10);
        for _ in 0..2_000 {
            log.push(LogStream::Host, None, RevisionId(1), "x".repeat(limits::LOG_LINE_BYTES_MAX));
        }
        let bytes: usize = log.from(0, usize::MAX).iter().map(|line| line.text.len()).sum();
        assert!(bytes <= limits::LOG_BYTES_MAX);
        assert_eq!(log.from(log.tail(3), usize::MAX).len(), 3);
    }
}
