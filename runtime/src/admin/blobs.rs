//! `/v1/apps/{app}/blobs/…`: the blobs that an app has, for its operator, with the methods, headers and answers that
//! guests have at `http://wfn.internal/blobs/…`. No grant is needed here.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::admin::extract::Path;
use crate::app::error::ChangeError;
use crate::capability::blobs::error::BlobError;
use crate::capability::blobs::table::Usage;
use crate::capability::blobs::{Container, http as blobs};
use crate::limits;
use crate::manifest::grants::{Place, StoreLabel, StoreName};
use crate::names::AppName;

/// `GET /v1/apps/{app}/blobs`: the app's containers, with what they hold; those its manifest names and those it has.
pub async fn containers(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let app = AppName::new(&app)?;
    let mut containers = held(&api, &app).await?;
    let has_data = !containers.is_empty();
    match own_containers(&api, &app) {
        Ok(named) => {
            for name in named.iter().map(StoreName::as_str) {
                if !containers.iter().any(|(known, _)| known == name) {
                    containers.push((name.to_owned(), Usage::default()));
                }
            }
        }
        Err(error) if !has_data => return Err(error.into()),
        // An app that was removed may have left data.
        Err(_) => {}
    }
    containers.sort_by(|(one, _), (other, _)| one.cmp(other));
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

/// What the app has stored: each container with data.
pub async fn held(api: &Api, app: &AppName) -> Result<Vec<(String, Usage)>, ApiError> {
    Ok(api.registry.blobs().held(app).await.map_err(BlobError::from)?)
}

/// A container that the app has or its manifest names: a typing error makes none.
async fn open(api: &Api, app: &str, container: &str) -> Result<Container, ApiError> {
    let app = AppName::new(app)?;
    let store = StoreName::new(container).map_err(|why| ApiError::bad_request("invalid-name", why))?;
    let named = own_containers(api, &app);
    let is_named = named.as_ref().is_ok_and(|named| named.contains(&store));
    if !is_named && !held(api, &app).await?.iter().any(|(name, _)| name == store.as_str()) {
        let named: Vec<String> = named?.iter().map(StoreName::to_string).collect();
        let message = match named.as_slice() {
            [] => format!("app {app} has no blob containers: name some as blob_containers in its wfn.toml"),
            _ => format!("app {app} has no container {store}; its containers are {}", named.join(", ")),
        };
        return Err(BlobError::NoSuchContainer(message).into());
    }
    Ok(api.registry.blobs().container(Place { app, store }))
}

/// The containers of its own that the active revision names.
fn own_containers(api: &Api, app: &AppName) -> Result<Vec<StoreName>, ChangeError> {
    let active = api.registry.app(app)?.active();
    let own = |label: &StoreLabel| label.owner.is_none().then(|| label.store.clone());
    Ok(active.revision.manifest.blob_containers.iter().filter_map(own).collect())
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        match error.answer() {
            (StatusCode::INTERNAL_SERVER_ERROR, _) => Self::internal(error.to_string()),
            (status, code) => Self::new(status, code, error.to_string()),
        }
    }
}
