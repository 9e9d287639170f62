//! `/v1/apps/{app}/blobs/…`: the blobs that an app has, for its operator, with the methods, headers and answers that
//! guests have at `http://wfn.internal/blobs/…`. No grant is needed here.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::admin::extract::Path;
use crate::admin::stores::StoreKind;
use crate::capability::blobs::table::{self, Usage};
use crate::capability::blobs::{Container, http as blobs};
use crate::limits;
use crate::manifest::grants::Kind;
use crate::names::AppName;

/// The blob containers of apps.
pub const CONTAINERS: StoreKind<Usage> = StoreKind { kind: Kind::BlobContainer, table: table::containers };

/// `GET /v1/apps/{app}/blobs`: the app's containers, with what they hold; those its manifest names and those it has.
pub async fn containers(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let app = AppName::new(&app)?;
    let containers = CONTAINERS.all(&api, &app).await?;
    let shown: Vec<Value> = containers
        .iter()
        .map(|(name, usage)| json!({ "container": name, "blobs": usage.blobs, "bytes": usage.bytes }))
        .collect();
    Ok(Json(json!({
        "app": app,
        "containers": shown,
        "blobs_max": limits::BLOBS_PER_APP_MAX,
        "bytes_max": limits::BLOB_BYTES_PER_APP_MAX,
    })))
}

/// `GET /v1/apps/{app}/blobs/{container}`: a page of its blobs.
pub async fn list(
    State(api): State<Arc<Api>>,
    Path((app, container)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    act(&open(&api, &app, &container).await?, "", request).await
}

/// `GET`, `HEAD`, `PUT` and `DELETE /v1/apps/{app}/blobs/{container}/{name}`.
pub async fn blob(
    State(api): State<Arc<Api>>,
    Path((app, container, name)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    act(&open(&api, &app, &container).await?, &name, request).await
}

async fn act(container: &Container, name: &str, request: Request) -> Result<Response, ApiError> {
    Ok(blobs::act(container, name, request).await?.map(Body::new))
}

async fn open(api: &Api, app: &str, container: &str) -> Result<Container, ApiError> {
    Ok(api.registry.blobs().container(CONTAINERS.place(api, app, container).await?))
}
