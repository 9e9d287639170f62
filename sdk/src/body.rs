//! The body of a request or a response: bytes in memory, or a stream.

use std::fmt;

#[cfg(feature = "sync")]
use crate::p2;
use bytes::Bytes;

/// The body of a request or a response.
///
/// Bytes and text become one by [`From`]. Reading is limited: a caller that reads a whole body says how many bytes it may have.
///
/// A synchronous guest reads a request's body by [`std::io::Read`] or [`read_bytes`](Self::read_bytes), and streams a
/// response's by [`from_reader`](Self::from_reader) or [`from_writer`](Self::from_writer). An asynchronous guest
/// reads by [`chunk`](Self::chunk) or [`collect_bytes`](Self::collect_bytes), and streams by
/// [`channel`](Self::channel) or [`from_http`](Self::from_http).
///
/// In both, the body of a request can be the body of the response. It is then streamed back while it arrives:
///
/// ```
/// use wfn_sdk::{Request, Response};
///
/// fn echo(request: Request) -> Response {
///     Response::new(request.into_body())
/// }
/// ```
pub struct Body(pub(crate) Kind);

/// Where the bytes come from.
pub(crate) enum Kind {
    Bytes(Bytes),
    #[cfg(feature = "sync")]
    Incoming(p2::Incoming),
    #[cfg(feature = "sync")]
    Reader(Box<dyn std::io::Read>),
    #[cfg(feature = "sync")]
    Writer(p2::WriteBody),
    #[cfg(feature = "async")]
    Http(crate::p3::HttpBody),
}

impl Body {
    /// A body without bytes.
    pub fn empty() -> Self {
        Self(Kind::Bytes(Bytes::new()))
    }

    /// Returns the number of bytes, if it is known before they are sent.
    pub(crate) fn exact_length(&self) -> Option<usize> {
        match &self.0 {
            Kind::Bytes(bytes) => Some(bytes.len()),
            #[cfg(any(feature = "sync", feature = "async"))]
            _ => None,
        }
    }
}

/// Says that a body is larger than the guest takes.
#[cfg(any(feature = "sync", feature = "async"))]
pub(crate) fn too_large(bytes_max: usize) -> crate::Error {
    crate::Error::new(
        http::StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {bytes_max} bytes"),
    )
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exact_length() {
            Some(length) => write!(f, "Body({length} bytes)"),
            None => f.write_str("Body(stream)"),
        }
    }
}

/// What becomes a body as it is.
macro_rules! from_bytes {
    ($($type:ty),*) => {$(
        impl From<$type> for Body {
            fn from(bytes: $type) -> Self {
                Self(Kind::Bytes(bytes.into()))
            }
        }
    )*};
}

from_bytes!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}
