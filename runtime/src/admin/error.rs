//! Errors of the admin API: a status, a stable code and a message that says what to do.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use crate::app::error::ChangeError;
use crate::capability::bundle::BundleError;
use crate::capability::identity::IdentityError;
use crate::capability::secrets::SecretError;
use crate::capability::stores::StoreError;
use crate::component::cache::CacheError;
use crate::component::compile::CompileError;
use crate::names::NameError;
use crate::persist::error::DbError;

/// The answer to a client of the admin API when something is refused or fails.
#[derive(Debug, Clone, Serialize)]
pub struct ApiError {
    /// The HTTP status.
    #[serde(skip)]
    pub status: StatusCode,
    /// The stable code.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl ApiError {
    /// Makes an error of all its parts.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// What has an answer over HTTP.
    fn of((status, code): (StatusCode, &'static str), message: String) -> Self {
        match status {
            StatusCode::INTERNAL_SERVER_ERROR => Self::internal(message),
            _ => Self::new(status, code, message),
        }
    }

    /// 400: what was sent cannot be understood.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 500: the fault is the host's; the details are in its own log, too.
    pub fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        tracing::error!("admin API: {message}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, axum::Json(serde_json::json!({ "error": self }))).into_response()
    }
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        Self::bad_request("invalid-name", error.to_string())
    }
}

impl From<SecretError> for ApiError {
    fn from(error: SecretError) -> Self {
        ChangeError::from(error).into()
    }
}

impl From<BundleError> for ApiError {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Invalid(_) => Self::bad_request("invalid-bundle", error.to_string()),
            BundleError::Io(error) => error.into(),
        }
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DbError::DiskFull.into(),
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => DbError::ReadOnly.into(),
            _ => Self::internal(error.to_string()),
        }
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        Self::of(error.answer(), error.to_string())
    }
}

impl<E: StoreError> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::of(error.answer(), error.to_string())
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Db(error) => error.into(),
            IdentityError::Unopened(_) | IdentityError::Make => Self::internal(error.to_string()),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        let message = error.to_string();
        let (status, code) = match error {
            ChangeError::Manifest(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-manifest"),
            ChangeError::Cache(CacheError::Missing(_) | CacheError::Damaged(_)) => {
                (StatusCode::CONFLICT, "module-missing")
            }
            ChangeError::Cache(CacheError::Compile(CompileError::Inspect(error))) => {
                (StatusCode::UNPROCESSABLE_ENTITY, error.code())
            }
            ChangeError::Cache(CacheError::Compile(CompileError::Invalid(_))) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid-module")
            }
            ChangeError::Cache(CacheError::Compile(CompileError::NotAComponent(_))) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "not-a-component")
            }
            ChangeError::Cache(CacheError::Compile(CompileError::TooCostly(_))) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "module-too-costly")
            }
            ChangeError::Link(_) => (StatusCode::UNPROCESSABLE_ENTITY, "link-failed"),
            ChangeError::Start(_) => (StatusCode::UNPROCESSABLE_ENTITY, "start-failed"),
            ChangeError::Quota(_) => (StatusCode::CONFLICT, "over-quota"),
            ChangeError::HostTaken { .. } => (StatusCode::CONFLICT, "host-taken"),
            ChangeError::NoApp(_) | ChangeError::NothingToShare(_) => (StatusCode::NOT_FOUND, "no-app"),
            ChangeError::Coming(_) => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
            ChangeError::Broken(..) => (StatusCode::CONFLICT, "app-broken"),
            ChangeError::NoRevision(..)
            | ChangeError::NoEarlierRevision(..)
            | ChangeError::NoLaterRevision(..) => (StatusCode::NOT_FOUND, "no-revision"),
            ChangeError::AlreadyActive(..) => (StatusCode::CONFLICT, "already-active"),
            ChangeError::NoSplit(_) => (StatusCode::CONFLICT, "no-split"),
            ChangeError::Bundle(..) => (StatusCode::CONFLICT, "bundle-missing"),
            ChangeError::NoSecret(..) => (StatusCode::NOT_FOUND, "no-secret"),
            ChangeError::Secret(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-secret"),
            ChangeError::Unopened(_) => (StatusCode::CONFLICT, "secret-unreadable"),
            ChangeError::TooManyApps => (StatusCode::CONFLICT, "too-many-apps"),
            ChangeError::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            ChangeError::Cache(CacheError::Io(error)) | ChangeError::Files(error) => return error.into(),
            ChangeError::Db(error) => return error.into(),
            ChangeError::Cache(_) | ChangeError::Seal(_) => return Self::internal(message),
        };
        Self::new(status, code, message)
    }
}
