//! `POST http://wfn.internal/queues/QUEUE` sends a message; for guests of every language.
//!
//! The body of the request is that of the message. The query has its `id`, `session`, `delay` and `ttl`, times in
//! seconds. Another app's queue is `OWNER%2FQUEUE`. The answer is 202 after the message is on the disk.

use ::http::header::CONTENT_TYPE;
use ::http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use wasmtime_wasi_http::WasiBody;

use crate::capability::Capabilities;
use crate::capability::queues::error::QueueError;
use crate::capability::queues::message::NewMessage;
use crate::capability::queues::table::Sent;
use crate::capability::request::{decoded, room_for_body, value_of};
use crate::capability::response::{json, refused};
use crate::limits;
use crate::meter::output::GuestOutput;
use crate::refusal::Refusal;

/// Answers a request; `path` is what follows `/queues/`.
pub async fn answer(
    capabilities: &Capabilities,
    path: &str,
    request: Request<WasiBody>,
    output: &GuestOutput,
) -> Response<WasiBody> {
    match send(capabilities, path, request, output).await {
        Ok(sent) => json(StatusCode::ACCEPTED, &shown(&sent)),
        Err(refusal) => refused(refusal),
    }
}

/// The answer to a message that was sent, as JSON for guests and operators.
pub fn shown(sent: &Sent) -> serde_json::Value {
    serde_json::json!({ "id": sent.id, "duplicate": sent.is_duplicate })
}

async fn send(
    capabilities: &Capabilities,
    path: &str,
    request: Request<WasiBody>,
    output: &GuestOutput,
) -> Result<Sent, Refusal> {
    let bad = |why: String| Refusal::new(StatusCode::BAD_REQUEST, "bad-request", why);
    if request.method() != Method::POST {
        return Err(Refusal::not_allowed("POST"));
    }
    let queue = decoded(path).map_err(bad)?;
    let query = request.uri().query().unwrap_or_default();
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut message = new_message(query, content_type.unwrap_or_default()).map_err(bad)?;
    let granted = capabilities.queue(&queue);
    let queue = granted.map_err(|error| {
        capabilities.report(&error, output);
        Refusal::from(&error)
    })?;
    // Reserved before the body is read, so that the memory for all bodies is bounded.
    let most = room_for_body(request.headers(), limits::QUEUE_MESSAGE_BYTES_MAX);
    let _room = capabilities.queues().room(most).await.map_err(|error| Refusal::from(&error))?;
    let body = Limited::new(request.into_body(), most).collect().await;
    message.body = match body {
        Ok(body) => body.to_bytes().into(),
        Err(error) if error.is::<LengthLimitError>() => return Err((&QueueError::MessageTooLarge).into()),
        Err(_) => return Err(Refusal::new(StatusCode::BAD_REQUEST, "body-broken", "the body ended early")),
    };
    queue.send(message).await.map_err(|error| {
        capabilities.report(&error, output);
        Refusal::from(&error)
    })
}

/// A message without its body, made from the query and the content type of a request.
pub fn new_message(query: &str, content_type: &str) -> Result<NewMessage, String> {
    Ok(NewMessage {
        id: value_of(query, "id"),
        session: value_of(query, "session"),
        content_type: content_type.to_owned(),
        body: Vec::new(),
        delay_ms: milliseconds(query, "delay")?.unwrap_or(0),
        time_to_live_ms: milliseconds(query, "ttl")?,
    })
}

fn milliseconds(query: &str, name: &str) -> Result<Option<i64>, String> {
    let Some(text) = value_of(query, name) else { return Ok(None) };
    let seconds: f64 = text.parse().map_err(|_| format!("{name}: use seconds, such as 1.5"))?;
    let longest = limits::QUEUE_TIME_MAX.as_secs_f64();
    if !(0.0..=longest).contains(&seconds) {
        return Err(format!("{name}: use 0 to {longest} seconds"));
    }
    Ok(Some((seconds * 1_000.0).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_describes_a_message() {
        let message = new_message("id=a+b&session=s%201&delay=1.5&ttl=60", "text/plain").unwrap();
        assert_eq!((message.id.as_deref(), message.session.as_deref()), (Some("a b"), Some("s 1")));
        assert_eq!((message.delay_ms, message.time_to_live_ms), (1_500, Some(60_000)));
        assert_eq!(new_message("", "").unwrap().delay_ms, 0);
        for query in ["delay=-1", "delay=soon", "ttl=604801", "delay=NaN", "ttl=inf"] {
            assert!(new_message(query, "").is_err(), "{query}");
        }
    }
}
