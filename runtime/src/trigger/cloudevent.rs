//! Events as CloudEvents 1.0 over HTTP, in binary mode: attributes are `ce-…` headers, the body is the event's data.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value};

use crate::capability::grants::Place;
use crate::capability::guest::GuestBody;
use crate::capability::queues::table::Message;

/// The media type of a message that has none.
const UNKNOWN: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The request that delivers `message` of the queue at `place` to `path`.
pub fn of_message(message: &Message, place: &Place, path: &str) -> Request<GuestBody> {
    let mut request = post(path, message.body.clone());
    let headers = request.headers_mut();
    let content_type = HeaderValue::from_str(&message.content_type).ok().filter(|value| !value.is_empty());
    headers.insert(CONTENT_TYPE, content_type.unwrap_or(UNKNOWN));
    for (name, value) in attributes(message, place) {
        // What could not be a header was refused when it was sent.
        let name = HeaderName::from_str(&format!("ce-{name}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
    request
}

/// The request that delivers `messages` together, in the JSON batch format: data that is JSON by its type is `data` as it
/// is, other text `data` as a string, and other bytes `data_base64`.
pub fn of_batch(messages: &[Message], place: &Place, path: &str) -> Request<GuestBody> {
    let events: Vec<Value> = messages.iter().map(|message| event(message, place)).collect();
    let mut request = post(path, Value::Array(events).to_string().into_bytes());
    request
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents-batch+json"));
    request
}

/// The messages of a batch that its answer says have failed: `{"failed": ["ID", …]}`. Any other answer says that none has.
pub fn failed_of_batch(answer: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Answer {
        failed: Vec<String>,
    }
    serde_json::from_slice(answer).map_or_else(|_| Vec::new(), |answer: Answer| answer.failed)
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<GuestBody> {
    let mut request = Request::new(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync());
    *request.method_mut() = Method::POST;
    // The manifest has checked it.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(HOST, HeaderValue::from_static("wfn.internal"));
    request
}

fn attributes(message: &Message, place: &Place) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("specversion", "1.0".to_owned()),
        ("type", "wfn.queue.message".to_owned()),
        ("source", format!("/apps/{}/queues/{}", place.app, place.store)),
        ("id", message.id.clone()),
        ("time", timestamp(message.sent_ms)),
        ("deliverycount", (message.failures + 1).to_string()),
        ("firstdelivery", timestamp(message.first_ms.unwrap_or(message.sent_ms))),
    ];
    attributes.extend(message.session.clone().map(|session| ("partitionkey", session)));
    attributes
}

fn event(message: &Message, place: &Place) -> Value {
    let attributes = attributes(message, place).into_iter();
    let mut event: Map<String, Value> =
        attributes.map(|(name, value)| (name.to_owned(), value.into())).collect();
    if !message.content_type.is_empty() {
        event.insert("datacontenttype".to_owned(), message.content_type.clone().into());
    }
    let is_json = message.content_type.split(';').next().unwrap_or_default().trim() == "application/json";
    let json = is_json.then(|| serde_json::from_slice(&message.body).ok()).flatten();
    let (name, data) = match (json, std::str::from_utf8(&message.body)) {
        (Some(json), _) => ("data", json),
        (None, Ok(text)) => ("data", text.into()),
        (None, Err(_)) => ("data_base64", BASE64.encode(&message.body).into()),
    };
    event.insert(name.to_owned(), data);
    Value::Object(event)
}

/// Milliseconds since 1970 in the form of RFC 3339.
fn timestamp(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::grants::StoreName;
    use crate::names::AppName;

    #[test]
    fn a_message_is_an_event_in_binary_mode() {
        let message = Message {
            number: 1,
            position: 1,
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
        let request = of_message(&message, &place, "/orders?x=1");
        let header = |name: &str| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", "/orders?x=1"));
        assert_eq!((header("ce-specversion"), header("ce-id")), ("1.0", "order 7"));
        assert_eq!(
            (header("ce-source"), header("ce-partitionkey")),
            ("/apps/shop/queues/orders", "customer")
        );
        assert_eq!((header("ce-time"), header("ce-deliverycount")), ("2026-11-21T17:48:30.25Z", "2"));
        assert_eq!(header("content-type"), "application/json");

        let binary = Message { content_type: String::new(), body: vec![0xff].into(), ..message.clone() };
        let text =
            Message { content_type: "text/plain".into(), body: Bytes::from_static(b"{}"), ..message.clone() };
        assert_eq!(event(&message, &place)["data"], serde_json::json!({}));
        assert_eq!(event(&message, &place)["deliverycount"], "2");
        assert_eq!(event(&text, &place)["data"], "{}");
        assert_eq!(event(&binary, &place)["data_base64"], "/w==");
        assert_eq!(failed_of_batch(b"{\"failed\":[\"a\",\"b\"]}"), ["a", "b"]);
        for other in [&b""[..], b"ok", b"{}", b"{\"failed\":3}"] {
            assert!(failed_of_batch(other).is_empty());
        }
    }
}
