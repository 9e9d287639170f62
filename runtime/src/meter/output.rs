//! Where guests write: their output cut into lines, each marked with its invocation, in the log of their app.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::capability::secrets::Redactor;
use crate::invocation::InvocationId;
use crate::limits;
use crate::meter::log::{AppLog, LogStream};
use crate::names::RevisionId;

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
            self.push(LogStream::Host, invocation, line.to_owned());
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

    fn push(&self, stream: LogStream, invocation: Option<InvocationId>, line: String) {
        if self.log.admits(stream, line.len()) {
            self.log.push(stream, invocation, self.revision, self.redactor.redact(line));
        }
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
        let line = String::from_utf8_lossy(&self.partial).into_owned();
        self.output.push(self.stream, self.output.running(), line);
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
    fn a_line_without_end_is_cut() {
        let log = Arc::new(AppLog::default());
        let mut writer = GuestOutput::new(log.clone(), RevisionId(1), Arc::default()).stderr().lines();
        writer.take(&vec![b'x'; limits::LOG_LINE_BYTES_MAX * 2 + 1]);
        drop(writer);
        let lengths: Vec<usize> = texts(&log).iter().map(String::len).collect();
        assert_eq!(lengths, [limits::LOG_LINE_BYTES_MAX, limits::LOG_LINE_BYTES_MAX, 1]);
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let log = Arc::new(AppLog::default());
        let mut writer = GuestOutput::new(log.clone(), RevisionId(1), Arc::default()).stdout().lines();
        let written = 4 * u64::from(limits::LOG_LINES_PER_SECOND);
        for _ in 0..written {
            writer.take(b"again\n");
        }
        // A second may have ended meanwhile, and then another such share was kept.
        let kept = texts(&log).iter().filter(|text| *text == "again").count() as u64;
        assert_eq!(kept + log.dropped(), written);
        assert!(log.dropped() > 0, "{kept} kept");
    }
}
