//! Reads and writes the bytes of one connection. What is to be sent is collected, and sent after the tasks that are ready have
//! run. So answers that can be computed now leave together, and wake their reader once
//! (docs/decisions/2026-11-22-answers-together.md). Nothing else delays them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ingress::stream::{ReadSide, Stream, WriteSide};
use crate::ingress::watch::Watch;
use crate::invocation::INVOCATION;
use crate::limits;

/// What a client of HTTP/2 sends first (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes read at first, until the version is known. Most requests fit.
const FIRST_READ_BYTES: usize = 2 * 1024;
/// Size of the send buffer that an idle connection keeps, in bytes.
const ROOM_KEPT_BYTES: usize = 4 * 1024;
/// Bytes that are read and dropped at a time.
const DISCARD_BYTES: usize = 16 * 1024;

/// A connection as hyper sees it: reads come from the client, writes go to the [`Outbox`].
pub struct Wire {
    reading: ReadSide,
    /// What was read to find out the version, and how much of it was handed on. hyper gets the first byte alone: then it makes
    /// its buffer larger than one read needs, and takes it for many requests. Otherwise it takes a new one for each.
    first: (Vec<u8>, usize),
    outbox: Arc<Outbox>,
    watch: Arc<Watch>,
}

/// What is to be sent to the client. The task that polls the connection sends it.
pub struct Outbox {
    /// Whether [`Sending`] holds bytes.
    waits: AtomicBool,
    sending: Mutex<Sending>,
    watch: Arc<Watch>,
}

struct Sending {
    /// `None` when the connection was aborted.
    stream: Option<WriteSide>,
    bytes: Vec<u8>,
    /// How many of them are out.
    sent: usize,
}

/// Splits `stream` into its reading and its writing side.
pub fn open(stream: Stream, watch: &Arc<Watch>) -> (Wire, Arc<Outbox>) {
    let (reading, writing) = stream.split();
    let sending = Mutex::new(Sending { stream: Some(writing), bytes: Vec::new(), sent: 0 });
    let outbox = Arc::new(Outbox { waits: AtomicBool::new(false), sending, watch: watch.clone() });
    (Wire { reading, first: (Vec::new(), 0), outbox: outbox.clone(), watch: watch.clone() }, outbox)
}

impl Wire {
    /// Reads until it is clear whether the client speaks HTTP/2. What was read is then read again by hyper.
    pub fn poll_is_http2(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let (first, _) = &self.first;
            if first.starts_with(HTTP2_PREFACE) {
                return Poll::Ready(Ok(true));
            }
            if !HTTP2_PREFACE.starts_with(first) {
                return Poll::Ready(Ok(false));
            }
            let mut room = [0; FIRST_READ_BYTES];
            let mut buffer = ReadBuf::new(&mut room);
            ready!(self.poll_client(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(false));
            }
            self.first.0.extend_from_slice(buffer.filled());
        }
    }

    fn poll_client(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.reading.poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.watch.received();
        } else if matches!(polled, Poll::Ready(Ok(()))) && buffer.remaining() > 0 {
            self.watch.client_ends();
        }
        polled
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (first, taken) = &mut self.first;
        if first.is_empty() {
            return self.poll_client(context, buffer);
        }
        let most = if *taken == 0 { 1 } else { first.len() - *taken };
        let count = buffer.remaining().min(most);
        buffer.put_slice(&first[*taken..*taken + count]);
        *taken += count;
        if *taken == first.len() {
            self.first = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.outbox.poll_put(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was written is sent in the turn of the connection's task.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The code that serves the connection ends it.
        Poll::Ready(Ok(()))
    }
}

impl Outbox {
    /// Whether something is to be sent.
    pub fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// Sends all there is. Pending while the client does not take it.
    pub fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waits() {
            return Poll::Ready(Ok(()));
        }
        let sent = self.sending.lock().poll_send(context, &self.watch);
        if sent.is_ready() {
            self.waits.store(false, Ordering::Relaxed);
        }
        sent
    }

    /// Takes `slices` into the buffer. If that would be too much, sends the buffer first and then takes as much as fits.
    fn poll_put(&self, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut sending = self.sending.lock();
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if sending.bytes.len() + total <= limits::SENT_TOGETHER_BYTES_MAX {
            slices.iter().for_each(|slice| sending.bytes.extend_from_slice(slice));
            self.waits.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(total));
        }
        ready!(sending.poll_send(context, &self.watch))?;
        let stream = sending.stream()?;
        self.waits.store(stream.holds_back(), Ordering::Relaxed);
        let polled = stream.poll_write_vectored(context, slices);
        self.watch.written(polled.is_pending());
        polled
    }

    /// Adds an answer that was not made by hyper.
    pub fn put(&self, answer: &[u8]) {
        self.sending.lock().bytes.extend_from_slice(answer);
        self.waits.store(true, Ordering::Relaxed);
    }

    /// Puts `answer` in the place of the last one, which hyper has made for a head that it could not read. That one has no body
    /// and lacks the fields that all other answers have.
    pub fn put_instead(&self, answer: &[u8]) {
        let mut sending = self.sending.lock();
        let Sending { bytes, sent, .. } = &mut *sending;
        let waiting = &bytes[*sent..];
        let Some(at) = waiting.windows(9).rposition(|part| part == b"HTTP/1.1 ") else { return };
        let has = |field: &[u8]| waiting[at..].windows(field.len()).any(|part| part == field);
        if waiting.ends_with(b"\r\n\r\n")
            && has(b"content-length: 0\r\n")
            && !has(INVOCATION.as_str().as_bytes())
        {
            bytes.truncate(*sent + at);
            bytes.extend_from_slice(answer);
        }
    }

    /// Tells the client that nothing more comes after what was sent.
    pub fn poll_end(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sending.lock().stream()?.poll_shutdown(context)
    }

    /// Aborts the connection, so that the client sees an error.
    pub fn abort(&self) {
        if let Some(stream) = self.sending.lock().stream.take() {
            stream.abort();
        }
    }

    /// Reads and drops what the client still sends. Returns the number of bytes; 0 at the end.
    pub fn poll_discard(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.sending.lock().stream()?.poll_discard(context, &mut [0; DISCARD_BYTES])
    }
}

impl Sending {
    fn stream(&mut self) -> io::Result<&mut WriteSide> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn poll_send(&mut self, context: &mut Context<'_>, watch: &Watch) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        while self.sent < self.bytes.len() {
            let polled = stream.poll_write(context, &self.bytes[self.sent..]);
            watch.written(polled.is_pending());
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        if stream.holds_back() {
            let flushed = stream.poll_flush(context);
            watch.written(flushed.is_pending());
            ready!(flushed)?;
        }
        self.sent = 0;
        self.bytes.clear();
        self.bytes.shrink_to(ROOM_KEPT_BYTES);
        Poll::Ready(Ok(()))
    }
}
