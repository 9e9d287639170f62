//! Why a call to a queue did nothing, with the stable code of each reason.

use http::StatusCode;

use crate::capability::stores::{AccessError, StoreError};
use crate::limits;
use crate::manifest::grants::Kind;
use crate::names::AppName;

/// Why a call did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The app cannot use the queue, or the database failed.
    #[error(transparent)]
    Access(AccessError),
    /// The body is longer than [`limits::QUEUE_MESSAGE_BYTES_MAX`].
    #[error("the message has more than {max} bytes, which is the most: send what leads to it", max = limits::QUEUE_MESSAGE_BYTES_MAX)]
    MessageTooLarge,
    /// A property of the message exceeds a limit.
    #[error("{0}")]
    InvalidMessage(String),
    /// The app would exceed [`limits::QUEUE_MESSAGES_PER_APP_MAX`] or [`limits::QUEUE_BYTES_PER_APP_MAX`].
    #[error(
        "the queues of app {0} hold {messages} messages or {bytes} bytes, which is the most: retry when some have been delivered",
        messages = limits::QUEUE_MESSAGES_PER_APP_MAX,
        bytes = limits::QUEUE_BYTES_PER_APP_MAX
    )]
    Full(AppName),
    /// The revision would have more than [`limits::QUEUE_PENDING_BYTES_MAX`] in the host's memory.
    #[error("more than {max} bytes of this app are waiting to be written: try again", max = limits::QUEUE_PENDING_BYTES_MAX)]
    Busy,
}

impl<E: Into<AccessError>> From<E> for QueueError {
    fn from(error: E) -> Self {
        Self::Access(error.into())
    }
}

impl StoreError for QueueError {
    const KIND: Kind = Kind::Queue;

    fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Access(error) => error.answer(),
            Self::MessageTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "message-too-large"),
            Self::InvalidMessage(_) => (StatusCode::BAD_REQUEST, "invalid-message"),
            Self::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "queue-full"),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
        }
    }

    fn access(&self) -> Option<&AccessError> {
        if let Self::Access(error) = self { Some(error) } else { None }
    }
}
