//! `/v1/apps/{app}/kv/…`: what an app has stored, for its operator. No grant is needed here.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::admin::extract::{Path, Query};
use crate::admin::stores::StoreKind;
use crate::capability::key_value::error::KeyValueError;
use crate::capability::key_value::table::{self, Usage};
use crate::capability::key_value::{Page, Store};
use crate::capability::request::Condition;
use crate::limits;
use crate::manifest::grants::Kind;
use crate::names::AppName;

/// The key-value stores of apps.
pub const STORES: StoreKind<Usage> = StoreKind { kind: Kind::KeyValueStore, table: table::stores };

/// `GET /v1/apps/{app}/kv`: the app's stores, with what they hold; those its manifest names and those it has.
pub async fn stores(State(api): State<Arc<Api>>, Path(app): Path<String>) -> Result<Json<Value>, ApiError> {
    let app = AppName::new(&app)?;
    let stores = STORES.all(&api, &app).await?;
    let shown: Vec<Value> = stores
        .iter()
        .map(|(name, usage)| json!({ "store": name, "keys": usage.keys, "bytes": usage.bytes }))
        .collect();
    Ok(Json(json!({
        "app": app,
        "stores": shown,
        "keys_max": limits::KEY_VALUE_KEYS_PER_APP_MAX,
        "bytes_max": limits::KEY_VALUE_BYTES_PER_APP_MAX,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

/// `GET /v1/apps/{app}/kv/{store}`: a page of its keys.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Path((app, store)): Path<(String, String)>,
    Query(listing): Query<Listing>,
) -> Result<Json<Value>, ApiError> {
    let store = open(&api, &app, &store).await?;
    let limit = listing.limit.unwrap_or(limits::KEY_VALUE_PAGE_MAX);
    let Page { keys, next } = store.list(&listing.prefix, &listing.after, limit).await?;
    Ok(Json(json!({ "keys": keys, "next": next })))
}

/// `GET /v1/apps/{app}/kv/{store}/{key}`: a value as it is, its version as `ETag`.
pub async fn get(
    State(api): State<Arc<Api>>,
    Path((app, store, key)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    let entry = open(&api, &app, &store).await?.get(&key).await?.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "no-such-key", format!("store {store} of {app} has no such key"))
    })?;
    let tag = format!("\"{}\"", entry.version);
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::ETAG, &tag)];
    Ok((headers, entry.value).into_response())
}

/// `PUT /v1/apps/{app}/kv/{store}/{key}`: sets a value to the body.
pub async fn put(
    State(api): State<Arc<Api>>,
    Path((app, store, key)): Path<(String, String, String)>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let store = open(&api, &app, &store).await?;
    let body = Limited::new(body, limits::KEY_VALUE_VALUE_BYTES_MAX).collect().await;
    let value = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => KeyValueError::ValueTooLarge.into(),
        false => ApiError::bad_request("upload-cut", "the body ended early: nothing was stored"),
    })?;
    let value = value.to_bytes();
    let bytes = value.len();
    let version = store.put(&key, value, Condition::Any).await?;
    Ok(Json(json!({ "key": key, "version": version, "bytes": bytes })))
}

/// `DELETE /v1/apps/{app}/kv/{store}/{key}`.
pub async fn delete(
    State(api): State<Arc<Api>>,
    Path((app, store, key)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let was_there = open(&api, &app, &store).await?.delete(&key, Condition::Any).await?;
    Ok(Json(json!({ "key": key, "removed": was_there })))
}

async fn open(api: &Api, app: &str, store: &str) -> Result<Store, ApiError> {
    Ok(Store::new(api.registry.db().clone(), STORES.place(api, app, store).await?))
}
