//! Why a call to a queue did nothing, with the stable code of each reason.

use http::StatusCode;

use crate::limits;
use crate::manifest::grants::{GrantRefusal, StoreName};
use crate::names::AppName;
use crate::persist::error::DbError;

/// Why a call did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// What was asked for is not the name of a queue.
    #[error("{0}")]
    NoSuchQueue(String),
    /// The app may not use it.
    #[error(transparent)]
    Refused(#[from] GrantRefusal),
    /// The app that owns the queue is not deployed (yet).
    #[error("app {0} is not deployed: its queue {1} cannot be made")]
    NoOwner(AppName, StoreName),
    /// [`limits::QUEUE_MESSAGE_BYTES_MAX`].
    #[error("the message has more than {max} bytes, which is the most: send what leads to it", max = limits::QUEUE_MESSAGE_BYTES_MAX)]
    MessageTooLarge,
    /// A property of the message that breaks a bound.
    #[error("{0}")]
    InvalidMessage(String),
    /// [`limits::QUEUE_MESSAGES_PER_APP_MAX`], [`limits::QUEUE_BYTES_PER_APP_MAX`].
    #[error(
        "the queues of app {0} hold {messages} messages or {bytes} bytes, which is the most: retry when some have been delivered",
        messages = limits::QUEUE_MESSAGES_PER_APP_MAX,
        bytes = limits::QUEUE_BYTES_PER_APP_MAX
    )]
    Full(AppName),
    /// [`limits::QUEUE_PENDING_BYTES_MAX`].
    #[error("more than {max} bytes of this app are waiting to be written: try again", max = limits::QUEUE_PENDING_BYTES_MAX)]
    Busy,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

impl QueueError {
    /// Status and stable code over HTTP.
    pub fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchQueue(_) => (StatusCode::NOT_FOUND, "no-such-queue"),
            Self::Refused(_) => (StatusCode::FORBIDDEN, "access-denied"),
            Self::NoOwner(..) => (StatusCode::NOT_FOUND, "no-app"),
            Self::MessageTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "message-too-large"),
            Self::InvalidMessage(_) => (StatusCode::BAD_REQUEST, "invalid-message"),
            Self::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "queue-full"),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Self::Db(error) => error.answer(),
        }
    }
}
