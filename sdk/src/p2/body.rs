//! Converts bodies from the host, and bodies to the host.

use std::io::{self, BufWriter, Read, Write};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use wasip2::http::types as wasi;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::body::{Kind, too_large};
use crate::{Body, Error};

/// How much of a body is in memory at once while it streams, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// A function that writes a body.
pub(crate) type WriteBody = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()>>;

/// Who sent a body.
pub(crate) enum Sender {
    /// A caller of this function.
    Request(wasi::IncomingRequest),
    /// A server that this function has called.
    Response(wasi::IncomingResponse),
}

/// The body of a request to this function, or of an answer to one of its own. Nothing is asked of the host before the
/// first read.
pub(crate) enum Incoming {
    Unread(Sender),
    Reading {
        // Invariant: the stream is dropped before the body that owns it, hence this order.
        stream: InputStream,
        _body: wasi::IncomingBody,
        /// Bytes that the host gave and that are not read yet.
        rest: Bytes,
    },
    Ended,
}

impl Incoming {
    /// Waits for the next bytes, at least one; `None` at the end. At most `bytes_max` are asked of the host.
    fn chunk(&mut self, bytes_max: usize) -> io::Result<Option<Bytes>> {
        loop {
            match self {
                Self::Unread(sender) => {
                    let taken = || io::Error::other("the body was taken before");
                    let body = match sender {
                        Sender::Request(request) => request.consume(),
                        Sender::Response(response) => response.consume(),
                    };
                    let body = body.map_err(|()| taken())?;
                    let stream = body.stream().map_err(|()| taken())?;
                    *self = Self::Reading { stream, _body: body, rest: Bytes::new() };
                }
                Self::Reading { rest, .. } if !rest.is_empty() => return Ok(Some(std::mem::take(rest))),
                Self::Reading { stream, .. } => match stream.blocking_read(bytes_max as u64) {
                    Ok(chunk) if chunk.is_empty() => {}
                    Ok(chunk) => return Ok(Some(chunk.into())),
                    Err(StreamError::Closed) => *self = Self::Ended,
                    Err(error) => return Err(broken(error)),
                },
                Self::Ended => return Ok(None),
            }
        }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(mut chunk) = self.chunk(CHUNK_BYTES)? else { return Ok(0) };
        let length = chunk.len().min(buffer.len());
        chunk.copy_to_slice(&mut buffer[..length]);
        if let Self::Reading { rest, .. } = self {
            *rest = chunk;
        }
        Ok(length)
    }
}

impl Body {
    /// The body of a response that is read from `reader` and sent as it comes.
    ///
    /// ```
    /// use std::io::Read as _;
    ///
    /// let lines = wfn_sdk::Body::from_reader("a line\n".as_bytes().chain("another\n".as_bytes()));
    /// ```
    pub fn from_reader(reader: impl Read + 'static) -> Self {
        Self(Kind::Reader(Box::new(reader)))
    }

    /// The body of a response that `write` writes through a buffer, after the head is sent. Writing waits for a caller
    /// that reads more slowly. `flush` sends what is in the buffer. An error cuts the body off.
    ///
    /// ```
    /// use std::io::Write as _;
    ///
    /// let numbers = wfn_sdk::Body::from_writer(|writer| {
    ///     for number in 0..10 {
    ///         writeln!(writer, "{number}")?;
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn from_writer(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + 'static) -> Self {
        Self(Kind::Writer(Box::new(write)))
    }

    /// Reads the rest of the body, at most `bytes_max` bytes.
    ///
    /// # Errors
    /// 413 if it is longer (nothing more is read then), 400 if the caller breaks off.
    pub fn read_bytes(&mut self, bytes_max: usize) -> Result<Bytes, Error> {
        if let Kind::Bytes(bytes) = &mut self.0 {
            return if bytes.len() > bytes_max {
                Err(too_large(bytes_max))
            } else {
                Ok(std::mem::take(bytes))
            };
        }
        let mut bytes = Vec::new();
        let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        match self.take(bound).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() > bytes_max => Err(too_large(bytes_max)),
            Ok(_) => Ok(bytes.into()),
            Err(error) => Err(Error::new(StatusCode::BAD_REQUEST, "the body broke off").caused_by(error)),
        }
    }
}

/// Reads the body as it arrives; a body made by [`Body::from_writer`] cannot be read.
impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Bytes(bytes) => {
                let length = bytes.len().min(buffer.len());
                bytes.copy_to_slice(&mut buffer[..length]);
                Ok(length)
            }
            Kind::Incoming(incoming) => incoming.read(buffer),
            Kind::Reader(reader) => reader.read(buffer),
            Kind::Writer(_) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "this body is written, not read"))
            }
            #[cfg(feature = "async")]
            Kind::Http(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "this body is read by waiting")),
        }
    }
}

/// A body that this function sends after the head.
pub(super) struct BodyWriter {
    // Invariant: the stream is dropped before the body that owns it, hence this order.
    stream: OutputStream,
    body: wasi::OutgoingBody,
}

impl BodyWriter {
    pub(super) fn new(body: wasi::OutgoingBody) -> io::Result<Self> {
        let stream = body.write().map_err(|()| io::Error::other("the body was taken before"))?;
        Ok(Self { stream, body })
    }

    /// Writes as much as the host takes at once, and returns how many bytes that was. A broken stream takes none, and
    /// its error comes with the next write.
    pub(super) fn write_without_waiting(&mut self, bytes: &[u8]) -> usize {
        let permit = self.stream.check_write().unwrap_or(0);
        let now = at_most(bytes, permit);
        if now.is_empty() || self.stream.write(now).is_err() { 0 } else { now.len() }
    }

    /// Sends `body` from its byte `early` on, and then ends it.
    pub(super) fn send(mut self, body: Body, early: usize) -> io::Result<()> {
        match body.0 {
            Kind::Bytes(bytes) => self.write_all(&bytes[early..])?,
            Kind::Incoming(mut incoming) => {
                while let Some(chunk) = incoming.chunk(CHUNK_BYTES)? {
                    self.write_all(&chunk)?;
                }
            }
            Kind::Reader(mut reader) => drop(io::copy(&mut reader, &mut self)?),
            Kind::Writer(write) => {
                let mut buffered = BufWriter::new(self);
                write(&mut buffered)?;
                self = buffered.into_inner()?;
            }
            #[cfg(feature = "async")]
            Kind::Http(_) => return Err(io::Error::other("this body needs an asynchronous handler")),
        }
        self.finish()
    }

    /// Ends the body and so marks it as complete. Without this the host cuts it off.
    fn finish(self) -> io::Result<()> {
        drop(self.stream);
        wasi::OutgoingBody::finish(self.body, None).map_err(io::Error::other)
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            match self.stream.check_write().map_err(broken)? {
                0 => self.stream.subscribe().block(),
                permit => {
                    let now = at_most(bytes, permit);
                    self.stream.write(now).map_err(broken)?;
                    return Ok(now.len());
                }
            }
        }
    }

    /// Waits until the host has passed on everything written so far.
    fn flush(&mut self) -> io::Result<()> {
        self.stream.blocking_flush().map_err(broken)
    }
}

/// The first `permit` bytes, or all if there are fewer.
fn at_most(bytes: &[u8], permit: u64) -> &[u8] {
    &bytes[..bytes.len().min(usize::try_from(permit).unwrap_or(usize::MAX))]
}

fn broken(error: StreamError) -> io::Error {
    match error {
        StreamError::Closed => io::Error::new(io::ErrorKind::BrokenPipe, "the other end has closed the body"),
        StreamError::LastOperationFailed(error) => {
            io::Error::other(format!("the body broke off: {}", error.to_debug_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use crate::Body;

    #[test]
    fn bodies_are_read_within_their_bounds() {
        let bodies: [fn() -> Body; 2] = [|| "abcdef".into(), || Body::from_reader("abcdef".as_bytes())];
        for body in bodies {
            assert_eq!(body().read_bytes(6).expect("fits"), "abcdef");
            assert_eq!(body().read_bytes(5).expect_err("too large").status(), 413);
            let mut text = String::new();
            body().read_to_string(&mut text).expect("text");
            assert_eq!(text, "abcdef");
        }
        assert_eq!(Body::empty().read_bytes(0).expect("empty"), "");
        assert!(Body::from_writer(|_| Ok(())).read_bytes(10).is_err());
    }
}
