//! Writes events as CloudEvents 1.0 over HTTP, in binary mode: attributes are `ce-…` headers, the body is the event's data.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::capability::blobs::event::BlobEvent;
use crate::capability::queues::message::Message;
use crate::manifest::grants::{Place, StoreName};
use crate::media_type;
use crate::request::GuestRequest;
use crate::trace::cause::Cause;

/// The media type of an event that has none.
const UNKNOWN: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// Characters of a header value that are written as percent and two digits (HTTP protocol binding of CloudEvents, 3.1.3.2).
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// An event: its attributes beside `specversion`, and its data.
pub struct Event {
    attributes: Vec<(&'static str, String)>,
    content_type: String,
    data: Bytes,
    /// For its trace.
    cause: Cause,
}

/// The request of one event, or of several.
pub struct EventRequest {
    /// What the function gets.
    pub request: GuestRequest,
    /// For its trace.
    pub cause: Cause,
}

impl Event {
    /// Makes an event of a timer, of `kind`, without data. `source` is a path, `id` a name within it, `time_ms` milliseconds
    /// since 1970.
    pub fn new(kind: &str, source: String, id: String, time_ms: i64) -> Self {
        let attributes = vec![
            ("specversion", "1.0".to_owned()),
            ("type", kind.to_owned()),
            ("source", source),
            ("id", id),
            ("time", timestamp(time_ms)),
        ];
        Self { attributes, content_type: String::new(), data: Bytes::new(), cause: Cause::Timer }
    }

    /// Adds an attribute.
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.attributes.push((name, value));
        self
    }

    /// Adds `data` as JSON.
    pub fn with_json(self, data: &Value) -> Self {
        Self { content_type: "application/json".to_owned(), data: data.to_string().into(), ..self }
    }

    /// Makes the event of a message of the queue at `place`, or of the blob of `container` that the message is about.
    pub fn of_message(message: &Message, place: &Place, container: Option<&StoreName>) -> Self {
        let (kind, source) = match container {
            None => ("wfn.queue.message", format!("/apps/{}/queues/{}", place.app, place.store)),
            Some(container) => (BlobEvent::TYPE, format!("/apps/{}/blobs/{container}", place.app)),
        };
        let mut event = Self::new(kind, source, message.id.clone(), message.sent_ms)
            .with("deliverycount", (message.failures + 1).to_string())
            .with("firstdelivery", timestamp(message.first_ms.unwrap_or(message.sent_ms)));
        if container.is_some()
            && let Some(blob) = BlobEvent::of(message)
        {
            event = event.with("subject", blob.name);
        }
        if let Some(session) = &message.session {
            event = event.with("partitionkey", session.clone());
        }
        let from = container.unwrap_or(&place.store).clone();
        event.cause = Cause::Message { from, id: message.id.clone() };
        event.content_type.clone_from(&message.content_type);
        event.data = message.body.clone();
        event
    }

    /// Returns the request that delivers it to `path`.
    pub fn request(self, path: &str) -> EventRequest {
        let mut request = post(path, self.data);
        let headers = request.headers_mut();
        let content_type = HeaderValue::from_str(&self.content_type).ok().filter(|value| !value.is_empty());
        headers.insert(CONTENT_TYPE, content_type.unwrap_or(UNKNOWN));
        for (name, value) in self.attributes {
            let value = utf8_percent_encode(&value, ESCAPED).to_string();
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_str(&format!("ce-{name}")), HeaderValue::from_str(&value))
            {
                headers.insert(name, value);
            }
        }
        EventRequest { request, cause: self.cause }
    }

    /// Returns the event in the JSON format: JSON data is `data` as it is, other text is `data` as a string, other bytes are
    /// `data_base64`.
    fn json(self) -> Value {
        let mut event: Map<String, Value> =
            self.attributes.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let is_json = media_type::is_json(&self.content_type);
        if !self.content_type.is_empty() {
            event.insert("datacontenttype".to_owned(), self.content_type.into());
        }
        let json = is_json.then(|| serde_json::from_slice(&self.data).ok()).flatten();
        let (name, data) = match (json, std::str::from_utf8(&self.data)) {
            (Some(json), _) => ("data", json),
            (None, Ok(text)) => ("data", text.into()),
            (None, Err(_)) => ("data_base64", BASE64.encode(&self.data).into()),
        };
        event.insert(name.to_owned(), data);
        Value::Object(event)
    }
}

/// Returns the request that delivers `events` together, in the JSON batch format.
pub fn batch(events: impl Iterator<Item = Event>, path: &str) -> EventRequest {
    let events: Vec<Event> = events.collect();
    let cause = match events.first().map(|event| event.cause.clone()) {
        Some(Cause::Message { from, .. }) => Cause::Batch { from, messages: events.len() },
        other => other.unwrap_or(Cause::Timer),
    };
    let events: Vec<Value> = events.into_iter().map(Event::json).collect();
    let mut request = post(path, Value::Array(events).to_string().into_bytes());
    request
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents-batch+json"));
    EventRequest { request, cause }
}

/// Returns the messages of a batch that failed according to its answer: `{"failed": ["ID", …]}`. With any other answer none has.
pub fn failed_of_batch(answer: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Answer {
        failed: Vec<String>,
    }
    serde_json::from_slice(answer).map_or_else(|_| Vec::new(), |answer: Answer| answer.failed)
}

fn post(path: &str, body: impl Into<Bytes>) -> GuestRequest {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    let mut request = Box::new(Request::new(body));
    *request.method_mut() = Method::POST;
    // The manifest has checked it.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(HOST, HeaderValue::from_static("wfn.internal"));
    request
}

/// Milliseconds since 1970 in the form of RFC 3339.
pub fn timestamp(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::AppName;

    #[test]
    fn a_message_is_an_event_in_binary_mode() {
        let message = Message {
            number: 1,
            position: 1,
            due_ms: 0,
            id: "order 7".into(),
            session: Some("customer".into()),
            content_type: "application/json".into(),
            body: Bytes::from_static(b"{}"),
            sent_ms: 1_795_283_310_250,
            expires_ms: None,
            failures: 1,
            first_ms: Some(1_795_283_311_000),
            last_error: String::new(),
        };
        let place = Place { app: AppName::new("shop").unwrap(), store: StoreName::new("orders").unwrap() };
        let EventRequest { request, cause } =
            Event::of_message(&message, &place, None).request("/orders?x=1");
        let header = |name: &str| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", "/orders?x=1"));
        assert_eq!((header("ce-specversion"), header("ce-id")), ("1.0", "order%207"));
        assert_eq!(
            (header("ce-source"), header("ce-partitionkey")),
            ("/apps/shop/queues/orders", "customer")
        );
        assert_eq!((header("ce-time"), header("ce-deliverycount")), ("2026-11-21T17:48:30.25Z", "2"));
        assert_eq!(header("content-type"), "application/json");
        let from = place.store.clone();
        let of_message = Cause::Message { from: from.clone(), id: "order 7".into() };
        assert_eq!(cause, of_message);
        let two = batch(
            [&message, &message].map(|message| Event::of_message(message, &place, None)).into_iter(),
            "/",
        );
        assert_eq!(two.cause, Cause::Batch { from, messages: 2 });
        let timer = Event::new("wfn.timer.due", String::new(), String::new(), 0).request("/");
        assert_eq!(timer.cause, Cause::Timer);

        let binary = Message { content_type: String::new(), body: vec![0xff].into(), ..message.clone() };
        let text =
            Message { content_type: "text/plain".into(), body: Bytes::from_static(b"{}"), ..message.clone() };
        let event = |message: &Message| Event::of_message(message, &place, None).json();
        assert_eq!(event(&message)["data"], serde_json::json!({}));
        assert_eq!(event(&message)["deliverycount"], "2");
        assert_eq!(event(&text)["data"], "{}");
        for json in ["Application/JSON; charset=utf-8", "application/problem+json"] {
            let message = Message { content_type: json.into(), ..message.clone() };
            assert_eq!(event(&message)["data"], serde_json::json!({}), "{json}");
            assert_eq!(event(&message)["datacontenttype"], json);
        }
        assert_eq!(event(&binary)["data_base64"], "/w==");
        let event = BlobEvent {
            container: "photos".into(),
            name: "in/größe 1.png".into(),
            etag: "\"7\"".into(),
            bytes: 3,
            content_type: "image/png".into(),
        };
        let of_blob = event.message();
        let of_blob = Message { body: of_blob.body.into(), id: of_blob.id.unwrap(), ..message };
        let container = StoreName::new("photos").unwrap();
        let request = Event::of_message(&of_blob, &place, Some(&container)).request("/thumbs").request;
        let headers = request.headers();
        assert_eq!(headers["ce-type"], "wfn.blob.written");
        assert_eq!(headers["ce-source"], "/apps/shop/blobs/photos");
        assert_eq!(headers["ce-subject"], "in/gr%C3%B6%C3%9Fe%201.png");
        assert_eq!(headers["ce-id"], "photos@7");
        assert_eq!(failed_of_batch(b"{\"failed\":[\"a\",\"b\"]}"), ["a", "b"]);
        for other in [&b""[..], b"ok", b"{}", b"{\"failed\":3}"] {
            assert!(failed_of_batch(other).is_empty());
        }
    }
}
