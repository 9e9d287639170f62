//! `GET /v1/apps/{app}/logs`: the kept lines as newline-delimited JSON, and what follows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::admin::extract::{Path, Query};
use crate::admin::role::Role;
use crate::admin::statuses::statuses;
use crate::meter::Meter;
use crate::meter::invocation_log::Filter;
use crate::meter::log::{LogLine, LogStream};
use crate::names::AppName;

/// Lines sent at once.
const BATCH_LINES: usize = 256;
/// Time after which a reader that has seen everything gets all new lines. A flood of lines would otherwise wake every reader for
/// each line.
const FOLLOW_PAUSE: Duration = Duration::from_millis(50);
/// An empty line this often shows that the client is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The query: which lines are wanted.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// Only this many last lines.
    tail: Option<usize>,
    /// Whether to continue with new lines.
    #[serde(default)]
    follow: bool,
    /// Lines of this moment and later.
    since_ms: Option<u64>,
    /// Lines in which this text occurs.
    search: Option<String>,
    /// Lines of this stream.
    stream: Option<LogStream>,
    /// Lines of this invocation.
    invocation: Option<String>,
    /// Lines of invocations with this status: `404`, `5xx` or `400-499`.
    status: Option<String>,
}

impl LogQuery {
    fn lets_through(&self, line: &LogLine) -> bool {
        self.since_ms.is_none_or(|since_ms| line.time_ms >= since_ms)
            && self.stream.is_none_or(|stream| line.stream == stream)
            && (self.invocation.is_none() || self.invocation == line.invocation)
            && self.search.as_ref().is_none_or(|search| line.text.contains(search.as_str()))
    }
}

/// Answers with the log of an app.
pub async fn logs(
    State(api): State<Arc<Api>>,
    Extension(role): Extension<Role>,
    Path(app): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, ApiError> {
    let app = api.registry.app(&AppName::new(&app)?)?;
    let by_status = query.status.as_deref().map(statuses).transpose()?;
    let (lines, body) = Channel::<Bytes, std::convert::Infallible>::new(4);
    let _room = api.log_reader(role)?;
    let reader = Reader { meter: app.meter().clone(), query, lines, stop: api.stop(), _room };
    match by_status {
        None => tokio::spawn(reader.send()),
        Some(status) => tokio::spawn(reader.send_by_status(status)),
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(body)).into_response())
}

/// A client that reads a log.
struct Reader {
    meter: Arc<Meter>,
    query: LogQuery,
    lines: Sender<Bytes>,
    stop: watch::Receiver<bool>,
    _room: OwnedSemaphorePermit,
}

impl Reader {
    /// Sends the wanted lines until the log is read or the client has gone.
    async fn send(mut self) {
        let log = self.meter.log.clone();
        let mut next = self.first();
        loop {
            let batch = log.from(next, BATCH_LINES);
            let sent = match batch.last() {
                Some(last) => {
                    next = last.sequence + 1;
                    let wanted = batch.iter().filter(|line| self.query.lets_through(line));
                    send_lines(&mut self.lines, wanted).await
                }
                None if !self.query.follow => return,
                None => self.wait(log.reached(next)).await,
            };
            if !sent {
                return;
            }
        }
    }

    /// Returns the sequence number of the first wanted line.
    fn first(&self) -> u64 {
        let Some(tail) = self.query.tail else { return 0 };
        let wanted = self.meter.log.filtered(|line| self.query.lets_through(line));
        match tail.checked_sub(1) {
            Some(before) => wanted.iter().rev().nth(before).map_or(0, |line| line.sequence),
            None => self.meter.log.tail(0),
        }
    }

    /// Sends the lines of invocations whose answers had one of these statuses, after they have ended.
    async fn send_by_status(mut self, status: (u16, u16)) {
        let mut after = None;
        loop {
            let filter = Filter { after, status: Some(status), ..Filter::default() };
            let newest = self.meter.invocation_log.newest();
            let ended = self.meter.invocation_log.latest(&filter, usize::MAX);
            let ended: HashSet<String> = ended.iter().map(|record| record.invocation.to_string()).collect();
            let is_wanted = |line: &LogLine| {
                let is_of_ended = line.invocation.as_ref().is_some_and(|id| ended.contains(id));
                is_of_ended && self.query.lets_through(line)
            };
            let wanted = if ended.is_empty() { Vec::new() } else { self.meter.log.filtered(is_wanted) };
            let skip = match (after, self.query.tail) {
                (None, Some(tail)) => wanted.len().saturating_sub(tail),
                _ => 0,
            };
            if !send_lines(&mut self.lines, wanted.iter().skip(skip)).await || !self.query.follow {
                return;
            }
            after = newest;
            let meter = self.meter.clone();
            if !self.wait(meter.invocation_log.reached(after)).await {
                return;
            }
        }
    }

    /// Waits for more. Returns whether to continue.
    async fn wait(&mut self, more: impl Future<Output = ()>) -> bool {
        let more = async {
            tokio::time::sleep(FOLLOW_PAUSE).await;
            more.await;
        };
        tokio::select! {
            () = more => true,
            () = tokio::time::sleep(HEARTBEAT) => self.lines.send_data(Bytes::from_static(b"\n")).await.is_ok(),
            _ = self.stop.changed() => false,
        }
    }
}

/// Sends lines. Returns whether the client is still there.
async fn send_lines<'a>(to: &mut Sender<Bytes>, lines: impl Iterator<Item = &'a LogLine>) -> bool {
    let encoded = lines.filter_map(|line| serde_json::to_string(line).ok());
    let text = encoded.fold(String::new(), |text, line| text + &line + "\n");
    text.is_empty() || to.send_data(text.into()).await.is_ok()
}
