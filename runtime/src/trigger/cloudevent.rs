//! Events as CloudEvents 1.0 over HTTP, in binary mode: attributes are `ce-…` headers, the body is the event's data.

use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};

use crate::capability::grants::Place;
use crate::capability::guest::GuestBody;
use crate::capability::queues::table::Message;

/// The media type of a message that has none.
const UNKNOWN: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The request that delivers `message` of the queue at `place` to `path`: delivery number `count`, the first of which was
/// at `first_ms`.
pub fn of_message(
    message: &Message,
    place: &Place,
    path: &str,
    count: u32,
    first_ms: i64,
) -> Request<GuestBody> {
    let body = Full::new(message.body.clone().into()).map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    // The manifest has checked it.
    *request.uri_mut() = path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("wfn.internal"));
    let content_type = HeaderValue::from_str(&message.content_type).ok().filter(|value| !value.is_empty());
    headers.insert(CONTENT_TYPE, content_type.unwrap_or(UNKNOWN));
    let mut set = |name: &'static str, value: String| {
        // What could not be a header was refused when it was sent.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("ce-specversion", "1.0".to_owned());
    set("ce-type", "wfn.queue.message".to_owned());
    set("ce-source", format!("/apps/{}/queues/{}", place.app, place.store));
    set("ce-id", message.id.clone());
    set("ce-time", timestamp(message.sent_ms));
    set("ce-deliverycount", count.to_string());
    set("ce-firstdelivery", timestamp(first_ms));
    if let Some(session) = &message.session {
        set("ce-partitionkey", session.clone());
    }
    request
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
            body: b"{}".to_vec(),
            sent_ms: 1_795_283_310_250,
            expires_ms: None,
            failures: 1,
            first_ms: Some(1_795_283_311_000),
            last_error: String::new(),
        };
        let place = Place { app: AppName::new("shop").unwrap(), store: StoreName::new("orders").unwrap() };
        let request = of_message(&message, &place, "/orders?x=1", 2, 1_795_283_311_000);
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
    }
}
