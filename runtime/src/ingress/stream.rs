//! The two sides of a client's connection, with TLS or without.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

use crate::tls::server;

/// A client's connection.
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// With TLS, after its handshake.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What is read from.
pub enum ReadSide {
    /// As it is.
    Plain(OwnedReadHalf),
    /// With TLS. Both sides need its state; the task of the connection polls both.
    Tls(Arc<Mutex<TlsStream<TcpStream>>>),
}

/// What is written to.
pub enum WriteSide {
    /// As it is.
    Plain(OwnedWriteHalf),
    /// With TLS.
    Tls(Arc<Mutex<TlsStream<TcpStream>>>),
}

impl Stream {
    /// Whether the client has asked for HTTP/2 in the handshake. `None` without TLS: then its first bytes tell.
    pub fn speaks_http2(&self) -> Option<bool> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol().map(|protocol| protocol == server::HTTP2),
        }
    }

    /// Splits it into its reading and its writing side.
    pub fn split(self) -> (ReadSide, WriteSide) {
        match self {
            Self::Plain(stream) => {
                let (reading, writing) = stream.into_split();
                (ReadSide::Plain(reading), WriteSide::Plain(writing))
            }
            Self::Tls(stream) => {
                let stream = Arc::new(Mutex::new(*stream));
                (ReadSide::Tls(stream.clone()), WriteSide::Tls(stream))
            }
        }
    }
}

impl ReadSide {
    /// Reads some bytes; none at the client's end.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(&mut *stream.lock()).poll_read(context, buffer),
        }
    }
}

impl WriteSide {
    /// Whether it may hold bytes that were written: then they have to be flushed.
    pub fn holds_back(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Writes some of `bytes`.
    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut *stream.lock()).poll_write(context, bytes),
        }
    }

    /// Writes some of `slices`.
    pub fn poll_write_vectored(
        &mut self,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(&mut *stream.lock()).poll_write_vectored(context, slices),
        }
    }

    /// Sends what it holds.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(&mut *stream.lock()).poll_flush(context),
        }
    }

    /// Tells the client that nothing more comes.
    pub fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut *stream.lock()).poll_shutdown(context),
        }
    }

    /// Ends it so that the client sees an error: dropping it would tell the client that everything has come.
    pub fn abort(self) {
        match self {
            Self::Plain(stream) => {
                // If it fails, the connection has an error already.
                let _ = stream.as_ref().set_zero_linger();
                stream.forget();
            }
            // Without the notice of TLS that nothing more comes.
            Self::Tls(stream) => drop(stream.lock().get_ref().0.set_zero_linger()),
        }
    }

    /// Reads what the client still sends into `room`. Returns the number of bytes; 0 at the end.
    pub fn poll_discard(&mut self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => {
                let stream: &TcpStream = (*stream).as_ref();
                loop {
                    ready!(stream.poll_read_ready(context))?;
                    match stream.try_read(room) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        read => return Poll::Ready(read),
                    }
                }
            }
            Self::Tls(stream) => {
                let mut buffer = ReadBuf::new(room);
                ready!(Pin::new(&mut *stream.lock()).poll_read(context, &mut buffer))?;
                Poll::Ready(Ok(buffer.filled().len()))
            }
        }
    }
}
