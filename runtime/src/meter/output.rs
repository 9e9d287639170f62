//! Takes the output of guests, cuts it into lines, marks each with its invocation, and adds it to the app's log.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::invocation::InvocationId;
use crate::limits;
use crate::meter::line::Line;
use crate::meter::log::{AppLog, LogStream};
use crate::meter::redactor::Redactor;
use crate::names::RevisionId;

/// Where the output of one worker goes: the app's log, marked with the invocation that wrote it.
#[derive(Clone)]
pub struct GuestOutput(Arc<Shared>);

struct Shared {
    log: Arc<AppLog>,
    revision: RevisionId,
    redactor: Arc<Redactor>,
    /// Bits of the id of the invocation that runs; 0 if none does, or several.
    running: AtomicU64,
    /// Bits of the id of the invocation that writes next, if several run; 0 if the one that runs does.
    writer: AtomicU64,
    /// Whether one of `lines` has begun. If not, which is usual, the lock is not needed.
    has_begun: AtomicBool,
    /// What has been written of the next line of stdout and of stderr.
    lines: Mutex<[Open; 2]>,
}

/// A line that has not ended.
#[derive(Default)]
struct Open {
    line: Line,
    /// The invocation that writes it.
    invocation: Option<InvocationId>,
}

impl GuestOutput {
    /// Makes the output of a worker of `revision`. `redactor` removes secrets.
    pub fn new(log: Arc<AppLog>, revision: RevisionId, redactor: Arc<Redactor>) -> Self {
        let [running, writer] = Default::default();
        let (has_begun, lines) = Default::default();
        Self(Arc::new(Shared { log, revision, redactor, running, writer, has_begun, lines }))
    }

    /// Marks what follows as belonging to `invocation`.
    pub fn begin(&self, invocation: InvocationId) {
        self.0.running.store(invocation.to_bits(), Ordering::Relaxed);
    }

    /// Marks what follows as written by one of several invocations.
    pub fn begin_unknown(&self) {
        self.0.running.store(0, Ordering::Relaxed);
    }

    /// Notes that `invocation`, one of several that run, writes the next piece.
    pub fn writes(&self, invocation: Option<InvocationId>) {
        self.0.writer.store(invocation.map_or(0, InvocationId::to_bits), Ordering::Relaxed);
    }

    /// Notes that an invocation has ended. What it wrote without a line end becomes a line.
    pub fn end(&self, invocation: InvocationId) {
        if self.0.has_begun.load(Ordering::Relaxed) {
            self.0.end(Some(invocation));
        }
    }

    /// Returns the invocation that runs, if only one does.
    pub fn running(&self) -> Option<InvocationId> {
        of_bits(self.0.running.load(Ordering::Relaxed))
    }

    /// Adds lines of the host about this worker.
    pub fn host_log(&self, invocation: Option<InvocationId>, text: &str) {
        for line in text.lines() {
            if self.0.log.admits(LogStream::Host, line.len()) {
                self.0.add(LogStream::Host, invocation, &self.0.redactor.redact(line.to_owned()));
            }
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
}

fn of_bits(bits: u64) -> Option<InvocationId> {
    (bits != 0).then(|| InvocationId::from_bits(bits))
}

impl Shared {
    /// Takes out the invocation that writes next, if it is known.
    fn take_writer(&self) -> Option<InvocationId> {
        let named = self.writer.load(Ordering::Relaxed);
        if named == 0 {
            return of_bits(self.running.load(Ordering::Relaxed));
        }
        self.writer.store(0, Ordering::Relaxed);
        of_bits(named)
    }

    /// Adds what a guest writes. Ends a line that another invocation has begun.
    fn write(&self, stream: LogStream, invocation: Option<InvocationId>, mut bytes: &[u8]) {
        let lines = &mut *self.lines.lock();
        let open = &mut lines[usize::from(stream == LogStream::Stderr)];
        if open.invocation != invocation {
            self.close(stream, open);
            open.invocation = invocation;
        }
        while !bytes.is_empty() {
            let piece = open.line.take(&mut bytes, &self.redactor);
            if let Some(text) = piece.filter(|text| self.log.admits(stream, text.len())) {
                self.add(stream, invocation, &text);
            }
        }
        let has_begun = lines.iter().any(|open| !open.line.is_empty());
        self.has_begun.store(has_begun, Ordering::Relaxed);
    }

    /// Closes the lines of `invocation`.
    fn end(&self, invocation: Option<InvocationId>) {
        let lines = &mut *self.lines.lock();
        for (open, stream) in lines.iter_mut().zip([LogStream::Stdout, LogStream::Stderr]) {
            if open.invocation == invocation {
                self.close(stream, open);
            }
        }
        let has_begun = lines.iter().any(|open| !open.line.is_empty());
        self.has_begun.store(has_begun, Ordering::Relaxed);
    }

    fn close(&self, stream: LogStream, open: &mut Open) {
        let text = open.line.close(&self.redactor);
        if let Some(text) = text.filter(|text| self.log.admits(stream, text.len())) {
            self.add(stream, open.invocation, &text);
        }
    }

    /// Adds `text`, already redacted, in pieces no longer than a line may be.
    fn add(&self, stream: LogStream, invocation: Option<InvocationId>, mut text: &str) {
        loop {
            let (piece, rest) = text.split_at(text.floor_char_boundary(limits::LOG_LINE_BYTES_MAX));
            self.log.push(stream, invocation, self.revision, piece.to_owned());
            text = rest;
            if text.is_empty() {
                return;
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Closes lines of invocations that were cut off.
        for invocation in self.lines.get_mut().each_ref().map(|open| open.invocation) {
            self.end(invocation);
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
        // A stream of WASI 0.3 belongs to the invocation that asked for it.
        let owner = Some(self.output.0.take_writer());
        Box::new(Writer { output: self.output.clone(), stream: self.stream, owner })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Writer { output: self.output.clone(), stream: self.stream, owner: None })
    }
}

/// A stream that a guest writes to.
struct Writer {
    output: GuestOutput,
    stream: LogStream,
    /// The invocation it belongs to; `None` if it belongs to the worker.
    owner: Option<Option<InvocationId>>,
}

impl Writer {
    fn take(&self, bytes: &[u8]) {
        let shared = &*self.output.0;
        shared.write(self.stream, self.owner.unwrap_or_else(|| shared.take_writer()), bytes);
    }
}

impl OutputStream for Writer {
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
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
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

    fn output(log: &Arc<AppLog>) -> GuestOutput {
        GuestOutput::new(log.clone(), RevisionId(1), Arc::default())
    }

    fn lines(log: &AppLog) -> Vec<(String, Option<String>)> {
        log.from(0, usize::MAX).into_iter().map(|line| (line.text, line.invocation)).collect()
    }

    #[test]
    fn a_line_is_its_writers_whoever_ends_it() {
        let (log, [one, other]) = (Arc::<AppLog>::default(), [InvocationId::next(), InvocationId::next()]);
        let output = output(&log);
        let mut stdout = output.stdout().p2_stream();
        let mut write = |text: &str| stdout.write(text.to_owned().into()).unwrap();
        output.begin(one);
        write("of one");
        write(", all");
        output.end(other);
        assert!(lines(&log).is_empty(), "it goes on");
        output.end(one);
        output.begin(other);
        write("of the other");
        // Several run, and each says so before it writes.
        output.begin_unknown();
        output.writes(Some(one));
        write("again\nbegun");
        write("nobody's\n");
        let id = |id: InvocationId| Some(id.to_string());
        let expected = [
            ("of one, all", id(one)),
            ("of the other", id(other)),
            ("again", id(one)),
            ("begun", id(one)),
            ("nobody's", None),
        ];
        assert_eq!(lines(&log), expected.map(|(text, id)| (text.to_owned(), id)));
    }

    #[test]
    fn what_is_cut_off_is_told_when_the_worker_goes() {
        let (log, one) = (Arc::<AppLog>::default(), InvocationId::next());
        let output = output(&log);
        output.begin(one);
        for pipe in [output.stdout(), output.stderr()] {
            pipe.p2_stream().write(Bytes::from_static(b"half a li")).unwrap();
        }
        assert!(lines(&log).is_empty());
        drop(output);
        assert_eq!(lines(&log), vec![("half a li".to_owned(), Some(one.to_string())); 2]);
    }

    #[test]
    fn no_line_is_longer_than_it_may_be() {
        let log = Arc::<AppLog>::default();
        let redactor = Redactor::new([("A_LONG_NAME", "1234")]).unwrap();
        let output = GuestOutput::new(log.clone(), RevisionId(1), Arc::new(redactor));
        output.stdout().p2_stream().write(format!("{}\n", "1234".repeat(9_000)).into()).unwrap();
        output.host_log(None, &"x".repeat(20_000));
        let texts: Vec<String> = lines(&log).into_iter().map(|(text, _)| text).collect();
        assert!(texts.iter().all(|text| text.len() <= limits::LOG_LINE_BYTES_MAX));
        assert_eq!(texts.concat(), "[secret A_LONG_NAME]".repeat(9_000) + &"x".repeat(20_000));
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let log = Arc::<AppLog>::default();
        let mut stdout = output(&log).stdout().p2_stream();
        let written = 4 * u64::from(limits::LOG_LINES_PER_SECOND);
        for _ in 0..written {
            stdout.write(Bytes::from_static(b"again\n")).unwrap();
        }
        // A second may have ended meanwhile, and then another such share was kept.
        let kept = lines(&log).iter().filter(|(text, _)| text == "again").count() as u64;
        assert_eq!(kept + log.dropped(), written);
        assert!(log.dropped() > 0, "{kept} kept");
    }
}
