//! Messages, on their way into a queue and as it keeps them.

use bytes::Bytes;

/// A message on its way into a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// What its sender calls it; a second one of that name is not stored for a while.
    pub id: Option<String>,
    /// Messages of one session are delivered in order, one at a time.
    pub session: Option<String>,
    /// Media type of the body; may be empty.
    pub content_type: String,
    /// What is sent.
    pub body: Vec<u8>,
    /// How long it waits first, in milliseconds.
    pub delay_ms: i64,
    /// How long after that it is worth delivering, in milliseconds.
    pub time_to_live_ms: Option<i64>,
}

/// A message as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its row; never given twice.
    pub number: i64,
    /// Where it stands among those that are ready.
    pub position: i64,
    /// Until when it waits in its place, in milliseconds since 1970; the past, if it does not.
    pub due_ms: i64,
    /// What its sender, or else the host, calls it.
    pub id: String,
    /// See [`NewMessage::session`].
    pub session: Option<String>,
    /// See [`NewMessage::content_type`].
    pub content_type: String,
    /// What was sent.
    pub body: Bytes,
    /// When it was sent, in milliseconds since 1970.
    pub sent_ms: i64,
    /// When it ends to be worth delivering.
    pub expires_ms: Option<i64>,
    /// Deliveries that failed.
    pub failures: u32,
    /// When the first of them began.
    pub first_ms: Option<i64>,
    /// Why the last of them failed.
    pub last_error: String,
}
