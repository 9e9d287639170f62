//! Why a call to a key-value store did nothing, with the stable code of each reason.

use http::StatusCode;

use crate::capability::stores::{AccessError, StoreError};
use crate::limits;
use crate::manifest::grants::Kind;
use crate::names::AppName;

/// Why a call did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyValueError {
    /// The app cannot use the store, or the database failed.
    #[error(transparent)]
    Access(AccessError),
    /// The key is empty, or longer than [`limits::KEY_VALUE_KEY_BYTES_MAX`].
    #[error("the key has {0} bytes: 1 to {max} are allowed", max = limits::KEY_VALUE_KEY_BYTES_MAX)]
    InvalidKey(usize),
    /// The value is longer than [`limits::KEY_VALUE_VALUE_BYTES_MAX`].
    #[error("the value has more than {max} bytes, which is the most", max = limits::KEY_VALUE_VALUE_BYTES_MAX)]
    ValueTooLarge,
    /// The batch exceeds [`limits::KEY_VALUE_BATCH_MAX`] or [`limits::KEY_VALUE_BATCH_BYTES_MAX`].
    #[error(
        "the batch has more than {keys} keys or {bytes} bytes, which is the most: use several",
        keys = limits::KEY_VALUE_BATCH_MAX,
        bytes = limits::KEY_VALUE_BATCH_BYTES_MAX
    )]
    BatchTooLarge,
    /// The app would exceed [`limits::KEY_VALUE_KEYS_PER_APP_MAX`] or [`limits::KEY_VALUE_BYTES_PER_APP_MAX`].
    #[error(
        "the stores of app {0} would hold more than {keys} keys or {bytes} bytes, which is the most: delete some keys",
        keys = limits::KEY_VALUE_KEYS_PER_APP_MAX,
        bytes = limits::KEY_VALUE_BYTES_PER_APP_MAX
    )]
    StoreFull(AppName),
    /// Only decimal text can be incremented.
    #[error("the value is not a whole number in decimal text from -2^63 to 2^63-1, or the sum is not")]
    NotANumber,
    /// The key does not meet the condition of the change.
    #[error("the key is not as it was expected to be")]
    Changed,
    /// The worker holds [`limits::WORKER_HANDLES_MAX`] handles.
    #[error("the worker holds {max} handles, which is the most: drop some", max = limits::WORKER_HANDLES_MAX)]
    TooManyHandles,
    /// The revision would have more than [`limits::KEY_VALUE_PENDING_BYTES_MAX`] in the host's memory.
    #[error(
        "more than {max} bytes of this app are waiting to be written: try again",
        max = limits::KEY_VALUE_PENDING_BYTES_MAX
    )]
    Busy,
}

impl<E: Into<AccessError>> From<E> for KeyValueError {
    fn from(error: E) -> Self {
        Self::Access(error.into())
    }
}

impl StoreError for KeyValueError {
    const KIND: Kind = Kind::KeyValueStore;

    fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Access(error) => error.answer(),
            Self::InvalidKey(_) => (StatusCode::BAD_REQUEST, "invalid-key"),
            Self::ValueTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "value-too-large"),
            Self::BatchTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "batch-too-large"),
            Self::StoreFull(_) => (StatusCode::INSUFFICIENT_STORAGE, "store-full"),
            Self::NotANumber => (StatusCode::CONFLICT, "not-a-number"),
            Self::Changed => (StatusCode::PRECONDITION_FAILED, "key-changed"),
            Self::TooManyHandles | Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
        }
    }

    fn access(&self) -> Option<&AccessError> {
        if let Self::Access(error) = self { Some(error) } else { None }
    }
}
