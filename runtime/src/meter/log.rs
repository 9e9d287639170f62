//! The log of an app: guest output line by line, each with its invocation, in bounded memory.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::capability::secrets::Redactor;
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
            let sequence = lines.next;
            lines.next += 1;
            lines.bytes += text.len();
            lines.kept.push_back(LogLine { sequence, time_ms, stream, invocation, revision, text });
            while lines.kept.len() > limits::LOG_LINES_MAX || lines.bytes > limits::LOG_BYTES_MAX {
                let Some(oldest) = lines.kept.pop_front() else { break };
                lines.bytes -= oldest.text.len();
            }
        }
        self.grown.notify_waiters();
    }

    /// The kept lines from `sequence` on, at most `count`.
    pub fn from(&self, sequence: u64, count: usize) -> Vec<LogLine> {
        let lines = self.lines.lock();
        let first = lines.next - lines.kept.len() as u64;
        let skip = sequence.saturating_sub(first) as usize;
        lines.kept.iter().skip(skip).take(count).cloned().collect()
    }

    /// The sequence number at which the last `count` lines begin.
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

/// Where the output of one worker goes: the app's log, marked with the invocation that runs.
#[derive(Clone)]
pub struct GuestOutput {
    log: Arc<AppLog>,
    revision: RevisionId,
    redactor: Arc<Redactor>,
    /// The invocation now running; 0 while none is.
    running: Arc<AtomicU64>,
}

impl GuestOutput {
    /// Output of a worker of `revision`, without what `redactor` takes out.
    pub fn new(log: Arc<AppLog>, revision: RevisionId, redactor: Arc<Redactor>) -> Self {
        Self { log, revision, redactor, running: Arc::default() }
    }

    /// Marks what follows as belonging to `invocation`.
    pub fn begin(&self, invocation: InvocationId) {
        self.running.store(invocation.to_bits(), Ordering::Relaxed);
    }

    /// What follows may belong to any of several invocations.
    pub fn begin_unknown(&self) {
        self.running.store(0, Ordering::Relaxed);
    }

    /// The invocation now running, if it is known.
    pub fn running(&self) -> Option<InvocationId> {
        let running = self.running.load(Ordering::Relaxed);
        (running != 0).then(|| InvocationId::from_bits(running))
    }

    /// Adds lines of the host's own about this worker.
    pub fn host_says(&self, invocation: Option<InvocationId>, text: &str) {
        for line in text.lines() {
            let line = self.redactor.redact(line.to_owned());
            self.log.push(LogStream::Host, invocation, self.revision, line);
        }
    }

    /// The guest's standard output.
    pub fn stdout(&self) -> GuestPipe {
        GuestPipe { output: self.clone(), stream: LogStream::Stdout }
    }

    /// The guest's standard error.
    pub fn stderr(&self) -> GuestPipe {
        GuestPipe { output: self.clone(), stream: LogStream::Stderr }
    }

    fn push(&self, stream: LogStream, line: &[u8]) {
        let text = self.redactor.redact(String::from_utf8_lossy(line).into_owned());
        self.log.push(stream, self.running(), self.revision, text);
    }
}

/// One standard stream of a worker.
pub struct GuestPipe {
    output: GuestOutput,
    stream: LogStream,
}

impl IsTerminal for GuestPipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestPipe {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.lines())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.lines())
    }
}

impl GuestPipe {
    fn lines(&self) -> LineWriter {
        LineWriter { output: self.output.clone(), stream: self.stream, partial: Vec::new() }
    }
}

/// Cuts what a guest writes into lines.
struct LineWriter {
    output: GuestOutput,
    stream: LogStream,
    partial: Vec<u8>,
}

impl LineWriter {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(limits::LOG_LINE_BYTES_MAX) {
                self.partial.extend_from_slice(part);
                if self.partial.ends_with(b"\n") {
                    self.partial.pop();
                    self.flush_partial();
                } else if self.partial.len() >= limits::LOG_LINE_BYTES_MAX {
                    self.flush_partial();
                }
            }
        }
    }

    fn flush_partial(&mut self) {
        self.output.push(self.stream, &self.partial);
        self.partial.clear();
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            self.flush_partial();
        }
    }
}

impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(limits::LOG_LINE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LineWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &AppLog) -> Vec<String> {
        log.from(0, usize::MAX).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn output_becomes_lines_however_it_is_cut() {
        let log = Arc::new(AppLog::default());
        let output = GuestOutput::new(log.clone(), RevisionId(1), Arc::default());
        let mut writer = output.stdout().lines();
        for piece in ["a", "b\nc", "\n\nlast"] {
            writer.take(piece.as_bytes());
        }
        drop(writer);
        assert_eq!(texts(&log), ["ab", "c", "", "last"]);
    }

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

    #[test]
    fn a_line_without_end_is_cut() {
        let log = Arc::new(AppLog::default());
        let mut writer = GuestOutput::new(log.clone(), RevisionId(1), Arc::default()).stderr().lines();
        writer.take(&vec![b'x'; limits::LOG_LINE_BYTES_MAX * 2 + 1]);
        drop(writer);
        let lengths: Vec<usize> = texts(&log).iter().map(String::len).collect();
        assert_eq!(lengths, [limits::LOG_LINE_BYTES_MAX, limits::LOG_LINE_BYTES_MAX, 1]);
    }
}
