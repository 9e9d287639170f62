//! Sets, removes and lists secrets of an app by name. No answer ever contains a value.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::admin::api::{Api, from_json};
use crate::admin::deploy::to_end;
use crate::admin::error::ApiError;
use crate::admin::extract::{Path, Whole};
use crate::admin::view;
use crate::capability::secrets::{SecretChanges, SecretName, SecretValue};
use crate::names::AppName;

/// `GET /v1/apps/{app}/secrets`.
pub async fn list(State(api): State<Arc<Api>>, Path(app): Path<String>) -> Result<Json<Value>, ApiError> {
    let stored = api.registry.stored_secrets(&AppName::new(&app)?).await?;
    let shown = stored.iter().map(|secret| json!({ "name": secret.name, "updated_ms": secret.updated_ms }));
    Ok(Json(json!({ "app": app, "secrets": shown.collect::<Vec<_>>() })))
}

/// `PATCH /v1/apps/{app}/secrets` with `{"NAME": "value", "OTHER": null}`: sets and removes, as one change.
pub async fn change(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
    Whole(body): Whole,
) -> Result<Json<Value>, ApiError> {
    let app = AppName::new(&app)?;
    let changes: BTreeMap<String, Option<String>> = from_json(&body)?;
    let checked = changes.into_iter().map(|(name, value)| {
        let name = SecretName::new(&name)?;
        let value = value.map(|value| SecretValue::new(&name, value)).transpose()?;
        Ok((name, value))
    });
    let changes: SecretChanges = checked.collect::<Result<_, ApiError>>()?;
    if changes.is_empty() {
        return Err(ApiError::bad_request("nothing-to-change", "no secret is named"));
    }
    let names: Vec<String> = changes.keys().map(SecretName::to_string).collect();
    let registry = api.registry.clone();
    let name = app.clone();
    let deployed = to_end(async move { registry.change_secrets(&name, changes).await }).await?;
    let revision = deployed.as_ref().map(|deployed| deployed.revision.id);
    let split = deployed.map(|deployed| view::split(&deployed.serving));
    Ok(Json(json!({ "app": app, "changed": names, "revision": revision, "split": split })))
}
