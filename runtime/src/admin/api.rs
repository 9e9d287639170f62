//! Holds what the handlers of the admin API share, and the handlers that only show something.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::admin::about::About;
use crate::admin::error::ApiError;
use crate::admin::extract::Path;
use crate::admin::role::{Access, Role};
use crate::admin::view;
use crate::app::registry::Registry;
use crate::capability::CapabilityHost;
use crate::limits;
use crate::names::AppName;
use crate::trigger::TriggerHost;

/// What the handlers share.
pub struct Api {
    /// The apps.
    pub registry: Arc<Registry>,
    /// The triggers that call them.
    pub triggers: Arc<TriggerHost>,
    /// The capabilities that they share.
    pub capabilities: Arc<CapabilityHost>,
    /// Who may do what.
    pub access: Access,
    /// What the host is.
    pub about: About,
    stop: watch::Receiver<bool>,
    log_readers: Arc<Semaphore>,
    log_readers_strangers: Arc<Semaphore>,
}

impl Api {
    /// Makes the API for the callers that `access` lets in.
    pub fn new(
        registry: Arc<Registry>,
        triggers: Arc<TriggerHost>,
        capabilities: Arc<CapabilityHost>,
        access: Access,
        about: About,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let log_readers = Arc::new(Semaphore::new(limits::LOG_READERS_MAX));
        let log_readers_strangers = Arc::new(Semaphore::new(limits::LOG_READERS_STRANGERS_MAX));
        Arc::new(Self {
            registry,
            triggers,
            capabilities,
            access,
            about,
            stop,
            log_readers,
            log_readers_strangers,
        })
    }

    /// Changes when the host ends. Endless answers end then.
    pub fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }

    /// Returns a permit to read a log, to be held while reading. An error if too many do.
    pub fn log_reader(&self, role: Role) -> Result<OwnedSemaphorePermit, ApiError> {
        let readers = if role == Role::Operator { &self.log_readers } else { &self.log_readers_strangers };
        readers.clone().try_acquire_owned().map_err(|_| {
            let message = match role {
                Role::Operator => {
                    format!("{} others read logs, which is the most", limits::LOG_READERS_MAX)
                }
                Role::Viewer => format!(
                    "{} others read logs without the token, which is the most: pass it",
                    limits::LOG_READERS_STRANGERS_MAX
                ),
            };
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too-many-readers", message)
        })
    }
}

/// `GET /v1/host`: the host as a whole.
pub async fn host(State(api): State<Arc<Api>>) -> axum::Json<serde_json::Value> {
    axum::Json(view::host(&api.registry, &api.about))
}

/// `POST /v1/identity/rotate`: signs with a new key from now on.
pub async fn rotate(State(api): State<Arc<Api>>) -> Result<axum::Json<serde_json::Value>, ApiError> {
    api.registry.refresh_identity(true).await?;
    Ok(axum::Json(serde_json::json!({ "rotated": true })))
}

/// `GET /v1/apps`: every app.
pub async fn list(State(api): State<Arc<Api>>) -> axum::Json<serde_json::Value> {
    axum::Json(view::apps(&api.registry))
}

/// `GET /v1/apps/{app}`: one app.
pub async fn status(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
) -> Result<axum::Json<serde_json::Value>, ApiError> {
    let app = api.registry.app(&AppName::new(&app)?)?;
    Ok(axum::Json(view::app(&app)))
}

/// `GET /v1/apps/{app}/scaling`: why the app scaled.
pub async fn scaling(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
) -> Result<axum::Json<serde_json::Value>, ApiError> {
    let app = api.registry.app(&AppName::new(&app)?)?;
    Ok(axum::Json(view::scaling(&app)))
}

/// Reads a JSON body; the error says where it is wrong.
pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request("invalid-json", error.to_string()))
}
