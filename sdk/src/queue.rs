//! Queues of the host: messages that are delivered to a function until it answers with success.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use serde::{Deserialize, Serialize};

use crate::call::{Call, REFUSAL_BYTES_MAX};
use crate::service::{encoded, json};

/// A queue that the manifest grants: `queues = ["orders"]`.
///
/// ```
/// use wfn_sdk::{Error, StatusCode, queue::{Message, Queue}};
///
/// fn take_order(order: &str) -> Result<StatusCode, Error> {
///     Queue::new("orders").send(Message::new(order.to_owned())).send()?;
///     Ok(StatusCode::ACCEPTED)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Queue {
    path: String,
}

/// A message to send. Everything except the body is optional.
#[derive(Debug, Clone, Default)]
pub struct Message {
    body: Bytes,
    content_type: Option<&'static str>,
    query: Vec<String>,
}

/// The answer to a sent message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sent {
    /// Its id: the one it was given, or one of the host's.
    pub id: String,
    /// Whether a message with this id was sent within the last ten minutes, so that this one was not stored.
    pub duplicate: bool,
}

impl Queue {
    /// The app's own queue of this name, or another app's, `owner/name`, which its manifest shares.
    pub fn new(name: &str) -> Self {
        Self { path: format!("queues/{}", encoded(name)) }
    }

    /// Sends a message. When it is answered, the message is on disk.
    pub fn send(&self, message: Message) -> Call<Sent> {
        let uri = format!("http://wfn.internal/{}?{}", self.path, message.query.join("&"));
        let mut request = Request::builder().method(Method::POST).uri(uri);
        if let Some(content_type) = message.content_type {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Call::service(request.body(message.body.into()), &[], Some(REFUSAL_BYTES_MAX), json)
    }

    /// Sends `value` as JSON.
    pub fn send_json(&self, value: &impl Serialize) -> Call<Sent> {
        match serde_json::to_vec(value) {
            Ok(json) => self.send(Message::new(json).content_type("application/json")),
            Err(error) => Call::invalid(error.to_string()),
        }
    }
}

impl Message {
    /// Makes a message of these bytes, at most 256 KiB.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Sets the media type of the body.
    pub fn content_type(self, content_type: &'static str) -> Self {
        Self { content_type: Some(content_type), ..self }
    }

    /// Sets its id. A second message with the same id is not stored for ten minutes.
    pub fn id(self, id: &str) -> Self {
        self.with("id", id)
    }

    /// Puts it into a session of messages that belong together. The function gets the name by
    /// [`Event::session`](crate::Event::session).
    pub fn session(self, session: &str) -> Self {
        self.with("session", session)
    }

    /// Delivers it only after this time.
    pub fn delay(self, seconds: f64) -> Self {
        self.with("delay", &seconds.to_string())
    }

    /// Makes it a dead letter if it was not delivered within this time.
    pub fn time_to_live(self, seconds: f64) -> Self {
        self.with("ttl", &seconds.to_string())
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.query.push(format!("{name}={}", encoded(value)));
        self
    }
}
