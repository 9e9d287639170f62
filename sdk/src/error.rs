//! The error that a handler returns when it cannot answer: a status, a text for the caller, a cause for the log.

use std::error::Error as StdError;
use std::fmt;

use http::StatusCode;

use crate::{IntoResponse, Response};

/// A failure that becomes a response.
///
/// An error made by [`Error::new`] shows its message to the caller. An error made by `?` from any other error is a 500
/// and shows nothing of its cause. The cause is printed on stderr, which wfn keeps in the log of the app.
///
/// ```
/// use wfn_sdk::{Error, StatusCode};
///
/// let refused = Error::new(StatusCode::CONFLICT, "this name is taken");
/// assert_eq!(refused.to_string(), "this name is taken");
///
/// fn parse() -> Result<u32, Error> {
///     Ok("seven".parse()?)
/// }
/// let failed = parse().unwrap_err();
/// assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
/// assert_eq!(failed.to_string(), "internal error: invalid digit found in string");
/// ```
pub struct Error {
    status: StatusCode,
    message: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure that answers with this status and message.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), cause: None }
    }

    /// Adds the cause, which is printed on stderr and not shown to the caller.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The response's status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

// `Error` must not implement `std::error::Error`: this `From` would then be in conflict with `From<Error> for Error`.
impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(cause: E) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error").caused_by(cause)
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        error.to_string().into()
    }
}

/// The message, then each cause.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.cause.as_deref().map(|cause| cause as &dyn StdError);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.status)
    }
}

/// The message as plain text; a cause is printed on stderr.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.cause.is_some() {
            eprintln!("failed to answer: {self}");
        }
        (self.status, self.message + "\n").into_response()
    }
}
