//! `/v1/apps/{app}/queues/…`: the queues of an app, for its operator. No grant is needed here.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::admin::extract::{Path, Query};
use crate::admin::stores::StoreKind;
use crate::capability::queues::Queue;
use crate::capability::queues::error::QueueError;
use crate::capability::queues::http::{new_message, shown};
use crate::capability::queues::message::Message;
use crate::capability::queues::table::{self, After, State as MessageState, Usage};
use crate::limits;
use crate::manifest::grants::Kind;
use crate::names::AppName;

/// The queues of apps.
pub const QUEUES: StoreKind<Usage> = StoreKind { kind: Kind::Queue, table: table::queues };

/// `GET /v1/apps/{app}/queues`: the app's queues, with what they hold; those its manifest names and those it has.
pub async fn list(State(api): State<Arc<Api>>, Path(app): Path<String>) -> Result<Json<Value>, ApiError> {
    let app = AppName::new(&app)?;
    let queues = QUEUES.all(&api, &app).await?;
    let one = |(name, usage): &(String, Usage)| json!({ "queue": name, "messages": usage.messages, "dead": usage.dead, "bytes": usage.bytes });
    let queues: Vec<Value> = queues.iter().map(one).collect();
    Ok(Json(json!({ "app": app, "queues": queues, "messages_max": limits::QUEUE_MESSAGES_PER_APP_MAX })))
}

/// `POST /v1/apps/{app}/queues/{queue}?id=…&session=…&delay=…&ttl=…`: sends the body as a message.
pub async fn send(
    State(api): State<Arc<Api>>,
    Path((app, queue)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let queue = open(&api, &app, &queue).await?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let message = new_message(&query.unwrap_or_default(), content_type.unwrap_or_default());
    let mut message = message.map_err(|why| ApiError::bad_request("bad-request", why))?;
    let body = Limited::new(body, limits::QUEUE_MESSAGE_BYTES_MAX).collect().await;
    message.body = match body {
        Ok(body) => body.to_bytes().into(),
        Err(error) if error.is::<LengthLimitError>() => return Err(QueueError::MessageTooLarge.into()),
        Err(_) => return Err(ApiError::bad_request("upload-cut", "the body ended early: nothing was sent")),
    };
    Ok(Json(shown(&queue.send(message).await?)))
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Listed {
    Ready,
    Waiting,
    Dead,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    state: Listed,
    #[serde(default)]
    order: i64,
    #[serde(default)]
    number: i64,
    limit: Option<usize>,
}

/// `GET /v1/apps/{app}/queues/{queue}/messages?state=ready|waiting|dead`: a page of messages, which stay where they are.
pub(crate) async fn messages(
    State(api): State<Arc<Api>>,
    Path((app, queue)): Path<(String, String)>,
    Query(listing): Query<Listing>,
) -> Result<Json<Value>, ApiError> {
    let queue = open(&api, &app, &queue).await?;
    let state = match listing.state {
        Listed::Ready => MessageState::Ready,
        Listed::Waiting => MessageState::Waiting,
        Listed::Dead => MessageState::Dead,
    };
    let after = After { order: listing.order, number: listing.number };
    let limit = listing.limit.unwrap_or(limits::QUEUE_PAGE_MAX);
    let (messages, next) = queue.page(state, after, limit).await?;
    let next = next.map(|after| json!({ "order": after.order, "number": after.number }));
    let messages: Vec<Value> = messages.iter().map(shown_message).collect();
    Ok(Json(json!({ "messages": messages, "next": next })))
}

fn shown_message(message: &Message) -> Value {
    let text = std::str::from_utf8(&message.body).ok();
    json!({
        "id": message.id,
        "session": message.session,
        "content_type": message.content_type,
        "bytes": message.body.len(),
        "body": text,
        "sent_ms": message.sent_ms,
        "expires_ms": message.expires_ms,
        "failures": message.failures,
        "last_error": message.last_error,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    id: Option<String>,
}

/// `POST /v1/apps/{app}/queues/{queue}/replay[?id=…]`: dead letters are delivered again.
pub(crate) async fn replay(
    State(api): State<Arc<Api>>,
    Path((app, queue)): Path<(String, String)>,
    Query(Replay { id }): Query<Replay>,
) -> Result<Json<Value>, ApiError> {
    let queue = open(&api, &app, &queue).await?;
    let replayed = queue.replay(id.clone()).await?;
    match id {
        Some(id) if replayed == 0 => {
            let message = format!("queue {} has no dead letter {id:?}", queue.place().store);
            Err(ApiError::new(StatusCode::NOT_FOUND, "no-such-message", message))
        }
        _ => Ok(Json(json!({ "replayed": replayed }))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Purge {
    #[serde(default)]
    dead: bool,
}

/// `DELETE /v1/apps/{app}/queues/{queue}/messages[?dead=true]`: removes all messages, or all dead letters.
pub(crate) async fn purge(
    State(api): State<Arc<Api>>,
    Path((app, queue)): Path<(String, String)>,
    Query(Purge { dead }): Query<Purge>,
) -> Result<Json<Value>, ApiError> {
    let queue = open(&api, &app, &queue).await?;
    let states: &[MessageState] =
        if dead { &[MessageState::Dead] } else { &[MessageState::Ready, MessageState::Waiting] };
    Ok(Json(json!({ "removed": queue.purge(states).await? })))
}

async fn open(api: &Api, app: &str, queue: &str) -> Result<Queue, ApiError> {
    Ok(api.registry.queues().queue(QUEUES.place(api, app, queue).await?))
}
