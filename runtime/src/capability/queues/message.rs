//! Messages: as they are sent, and as a queue stores them.

use bytes::Bytes;

/// A message that is being sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Name given by the sender. A second message of the same name is not stored for
    /// [`crate::limits::QUEUE_DUPLICATES_WINDOW`].
    pub id: Option<String>,
    /// Messages of one session are delivered in order, one at a time.
    pub session: Option<String>,
    /// Media type of the body; may be empty.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
    /// How long it waits before it is ready, in milliseconds.
    pub delay_ms: i64,
    /// How long it may be delivered after that, in milliseconds; then it is a dead letter.
    pub time_to_live_ms: Option<i64>,
}

/// A message as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Number of its row, never used twice.
    pub number: i64,
    /// Its position among the messages that are ready.
    pub position: i64,
    /// Until when it waits in its position, in milliseconds since 1970; in the past if it does not wait.
    pub due_ms: i64,
    /// Name given by the sender, or else by the host.
    pub id: String,
    /// See [`NewMessage::session`].
    pub session: Option<String>,
    /// See [`NewMessage::content_type`].
    pub content_type: String,
    /// The body.
    pub body: Bytes,
    /// When it was sent, in milliseconds since 1970.
    pub sent_ms: i64,
    /// When its time to live ends, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// Number of failed deliveries.
    pub failures: u32,
    /// When the first of them began, in milliseconds since 1970.
    pub first_ms: Option<i64>,
    /// Why the last of them failed.
    pub last_error: String,
}
