//! Events for functions of blobs: each function that listens gets one for each version of a blob. Events are stored in
//! the change that makes the version visible, so none is lost and none is stored twice.

use serde::{Deserialize, Serialize};

use crate::capability::queues::message::{Message, NewMessage};

/// A version of a blob that was written; the data of its event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobEvent {
    /// Its container.
    pub container: String,
    /// Its name.
    pub name: String,
    /// The version, as the `ETag` of the blob says it.
    pub etag: String,
    /// Length of the blob.
    pub bytes: u64,
    /// Media type given by the writer.
    pub content_type: String,
}

impl BlobEvent {
    /// The type of the event.
    pub const TYPE: &str = "wfn.blob.written";

    /// The event that `message` holds.
    pub fn of(message: &Message) -> Option<Self> {
        serde_json::from_slice(&message.body).ok()
    }

    /// The message that holds the event in the queue of its function.
    pub fn message(&self) -> NewMessage {
        NewMessage {
            id: Some(format!("{}@{}", self.container, self.etag.trim_matches('"'))),
            session: None,
            content_type: "application/json".to_owned(),
            body: serde_json::to_vec(self).unwrap_or_default(),
            delay_ms: 0,
            time_to_live_ms: None,
        }
    }
}
