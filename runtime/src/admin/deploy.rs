//! Changes apps: deploy, split, scale, roll back, remove. A change that has begun is finished even if the client goes away.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::channel::Channel;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::api::{Api, from_json};
use crate::admin::error::ApiError;
use crate::admin::extract::{Path, Query, Whole};
use crate::admin::{blobs, kv, queues, view};
use crate::app::error::ChangeError;
use crate::app::registry::Deployed;
use crate::app::share::{Percent, Portion};
use crate::capability::key_value::table::Usage;
use crate::limited::Progress;
use crate::manifest::{Manifest, ScaleSettings};
use crate::media_type;
use crate::names::{AppName, ModuleHash, RevisionId};

/// What a client that wants to see the progress of a deploy accepts.
const NDJSON: &str = "application/x-ndjson";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deploy {
    module: ModuleHash,
    manifest: Manifest,
    canary: Option<Percent>,
    #[serde(default)]
    dry_run: bool,
}

/// `POST /v1/apps/{app}/revisions`: deploys. With `accept: application/x-ndjson` the answer is a stream of
/// events, the last one `done` or `error` with the status that would have been sent.
pub async fn deploy(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<Response, ApiError> {
    let deploy: Deploy = from_json(&body)?;
    if deploy.manifest.name != AppName::new(&app)? {
        let message = format!("the manifest is for app {}, the path names {app}", deploy.manifest.name);
        return Err(ApiError::bad_request("name-mismatch", message));
    }
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let wants_progress = accepted.is_some_and(|accept| media_type::accepts(accept, NDJSON));
    if wants_progress {
        return Ok(deploy_with_progress(api, deploy));
    }
    let registry = api.registry.clone();
    let deployed = to_end(async move {
        let Deploy { module, manifest, canary, dry_run } = deploy;
        registry.deploy(manifest, module, canary, dry_run, Box::new(|_| {})).await
    });
    Ok((StatusCode::CREATED, Json(shown(&deployed.await?))).into_response())
}

fn deploy_with_progress(api: Arc<Api>, deploy: Deploy) -> Response {
    let (mut events, body) = Channel::<Bytes, std::convert::Infallible>::new(16);
    let (progress, mut compiling) = tokio::sync::mpsc::channel::<Progress>(1);
    let registry = api.registry.clone();
    let change = tokio::spawn(async move {
        // A client that reads slowly misses some of the progress, nothing else.
        let progress = Box::new(move |so_far| {
            let _ = progress.try_send(so_far);
        });
        let Deploy { module, manifest, canary, dry_run } = deploy;
        registry.deploy(manifest, module, canary, dry_run, progress).await
    });
    tokio::spawn(async move {
        // Ends when the change has dropped its sender. A client that has gone does not stop the change.
        while let Some(Progress { elapsed, done }) = compiling.recv().await {
            let elapsed_ms = elapsed.as_millis() as u64;
            let event = json!({ "event": "compiling", "elapsed_ms": elapsed_ms, "done": done });
            let _ = events.send_data(line(&event)).await;
        }
        let last = match change.await {
            Ok(Ok(deployed)) => json!({ "event": "done", "deployed": shown(&deployed) }),
            Ok(Err(error)) => failed(error.into()),
            Err(panic) => failed(ApiError::internal(panic.to_string())),
        };
        let _ = events.send_data(line(&last)).await;
    });
    ([(header::CONTENT_TYPE, NDJSON)], Body::new(body)).into_response()
}

fn failed(error: ApiError) -> Value {
    json!({ "event": "error", "status": error.status.as_u16(), "error": error })
}

fn line(event: &Value) -> Bytes {
    Bytes::from(event.to_string() + "\n")
}

fn shown(deployed: &Deployed) -> Value {
    let name = &deployed.revision.manifest.name;
    json!({
        "app": name,
        "revision": deployed.revision.id,
        "kind": deployed.revision.kind,
        "module": deployed.revision.module,
        "path": format!("/{name}/"),
        "hosts": deployed.serving.active.manifest.hosts,
        "active": deployed.serving.active.id,
        "split": view::split(&deployed.serving),
        "split_ended": deployed.split_ended,
        "prepared_us": deployed.prepared_in.as_micros() as u64,
        "dry_run": deployed.dry_run,
    })
}

/// `PATCH /v1/apps/{app}/scale`: a new revision with other scale settings; no new one if nothing changes.
pub async fn scale(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
    Whole(body): Whole,
) -> Result<Json<Value>, ApiError> {
    let name = AppName::new(&app)?;
    let changes: ScaleSettings = from_json(&body)?;
    if changes == ScaleSettings::default() {
        return Err(ApiError::bad_request("nothing-to-change", "no setting is named"));
    }
    let registry = api.registry.clone();
    let deployed = to_end(async move { registry.scale(&name, &changes).await }).await?;
    Ok(Json(shown(&deployed)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollBack {
    revision: Option<RevisionId>,
}

/// `POST /v1/apps/{app}/rollback`: makes a kept revision serve again.
pub async fn roll_back(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
    Whole(body): Whole,
) -> Result<Json<Value>, ApiError> {
    let name = AppName::new(&app)?;
    let target: RollBack = from_json(&body)?;
    let registry = api.registry.clone();
    let deployed = to_end(async move { registry.roll_back(&name, target.revision).await }).await?;
    Ok(Json(shown(&deployed)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Divide {
    percent: Portion,
    revision: Option<RevisionId>,
}

/// `POST /v1/apps/{app}/split`: lets a second revision take a percentage of the HTTP requests, none or all of them.
pub async fn split(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
    Whole(body): Whole,
) -> Result<Json<Value>, ApiError> {
    let name = AppName::new(&app)?;
    let Divide { percent, revision } = from_json(&body)?;
    let registry = api.registry.clone();
    let deployed = to_end(async move { registry.split(&name, revision, percent).await }).await?;
    Ok(Json(shown(&deployed)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remove {
    #[serde(default)]
    with_data: bool,
}

/// `DELETE /v1/apps/{app}`: removes an app. Its stored data stay, unless the query says `with_data=true`.
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
    Query(Remove { with_data }): Query<Remove>,
) -> Result<Json<Value>, ApiError> {
    let name = AppName::new(&app)?;
    let (registry, removed) = (api.registry.clone(), name.clone());
    to_end(async move { registry.remove(&removed, with_data).await }).await?;
    if with_data {
        let registry = api.registry.clone();
        // What this does not finish is done at the next start.
        tokio::spawn(async move { registry.sweep_stores().await });
    }
    let kept = kv::STORES.held(&api, &name).await?;
    let sum = |of: fn(&Usage) -> i64| kept.iter().map(|(_, usage)| of(usage)).sum::<i64>();
    let (keys, bytes) = (sum(|usage| usage.keys), sum(|usage| usage.bytes));
    let kept = blobs::CONTAINERS.held(&api, &name).await?;
    let blobs: i64 = kept.iter().map(|(_, usage)| usage.blobs).sum();
    let blob_bytes: i64 = kept.iter().map(|(_, usage)| usage.bytes).sum();
    let kept = queues::QUEUES.held(&api, &name).await?;
    let messages: i64 = kept.iter().map(|(_, usage)| usage.messages + usage.dead).sum();
    let kept = json!({ "keys": keys, "bytes": bytes, "blobs": blobs, "blob_bytes": blob_bytes, "messages": messages });
    Ok(Json(json!({ "removed": app, "kept": kept })))
}

/// `GET /v1/apps/{app}/revisions`.
pub async fn revisions(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let name = AppName::new(&app)?;
    let revisions = api.registry.revisions(&name).await?;
    // None, if the active one could not be brought back at start.
    let serving = api.registry.app(&name).ok().map(|app| app.active().serving());
    let shown = revisions.iter().map(|revision| {
        let percent = serving.as_ref().map_or(0, |serving| serving.percent_of(revision.id));
        let is_active = serving.as_ref().is_some_and(|serving| serving.active.id == revision.id);
        view::revision(revision, is_active, percent)
    });
    Ok(Json(json!({ "app": app, "revisions": shown.collect::<Vec<_>>() })))
}

/// Runs a change in a task of its own, so that it is finished even if the request is dropped.
pub async fn to_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::spawn(change).await {
        Ok(result) => Ok(result?),
        Err(panic) => Err(ApiError::internal(panic.to_string())),
    }
}
