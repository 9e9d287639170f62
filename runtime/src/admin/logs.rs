//! `GET /v1/apps/{app}/logs`: the kept lines as newline-delimited JSON, and what follows.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;
use tokio::sync::watch;

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::meter::log::AppLog;
use crate::names::AppName;

/// Lines sent at once.
const BATCH_LINES: usize = 256;
/// An empty line this often shows that the client is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What of the log is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// The last lines only.
    tail: Option<usize>,
    /// Whether to go on with new lines.
    #[serde(default)]
    follow: bool,
}

/// Answers with the log of an app.
pub async fn logs(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, ApiError> {
    let app = api.registry.app(&AppName::new(&app)?)?;
    let log = app.meter().log.clone();
    let first = log.tail(query.tail.unwrap_or(usize::MAX));
    let (lines, body) = Channel::<Bytes, std::convert::Infallible>::new(4);
    tokio::spawn(send(log, first, query.follow, lines, api.stop()));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(body)).into_response())
}

/// Sends from `next` on until the log is read or the client is gone.
async fn send(
    log: Arc<AppLog>,
    mut next: u64,
    follow: bool,
    mut lines: Sender<Bytes>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let batch = log.from(next, BATCH_LINES);
        let text = match batch.last() {
            Some(last) => {
                next = last.sequence + 1;
                let encoded = batch.iter().filter_map(|line| serde_json::to_string(line).ok());
                encoded.fold(String::new(), |text, line| text + &line + "\n")
            }
            None if !follow => return,
            None => tokio::select! {
                () = log.reached(next) => continue,
                () = tokio::time::sleep(HEARTBEAT) => "\n".to_owned(),
                _ = stop.changed() => return,
            },
        };
        if lines.send_data(text.into()).await.is_err() {
            return;
        }
    }
}
