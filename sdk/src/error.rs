//! Everything that can go wrong between a handler and its host.

use std::fmt;

use wasip2::io::streams::StreamError;

/// Why a request could not be read or a response not be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The host refuses this status or these headers.
    InvalidHead(String),
    /// The request's body was taken before; it can be read once.
    BodyTaken,
    /// The request's body is larger than the handler's own bound.
    BodyTooLarge {
        /// That bound, in bytes.
        limit_bytes: usize,
    },
    /// The other end has gone: nobody reads the response any more.
    Closed,
    /// The host reports a broken body, in its own words.
    Stream(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidHead(what) => write!(f, "the host refuses the response's head: {what}"),
            Self::BodyTaken => f.write_str("the request's body was taken before"),
            Self::BodyTooLarge { limit_bytes } => {
                write!(f, "the request's body is larger than {limit_bytes} bytes")
            }
            Self::Closed => f.write_str("the other end has closed the body"),
            Self::Stream(what) => write!(f, "the body broke off: {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Closed => Self::Closed,
            StreamError::LastOperationFailed(error) => Self::Stream(error.to_debug_string()),
        }
    }
}
