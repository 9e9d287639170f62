//! Reads the parts of a request for handlers. If a part cannot be read, the error is one of this API.

use std::error::Error;

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::admin::error::ApiError;
use crate::limits;

/// The query.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::try_from_uri(&parts.uri);
        query.map(|axum::extract::Query(query)| Self(query)).map_err(|error| {
            ApiError::bad_request("invalid-query", format!("the query cannot be read: {}", cause(&error)))
        })
    }
}

/// The variables of the path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(path)| Self(path)).map_err(|error| {
            ApiError::bad_request("invalid-path", format!("the path cannot be read: {}", error.body_text()))
        })
    }
}

/// A body that is read whole, up to [`limits::ADMIN_BODY_BYTES_MAX`].
pub struct Whole(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                let bytes = limits::ADMIN_BODY_BYTES_MAX;
                let message = format!("the body has more than {bytes} bytes: nothing was done");
                Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", message))
            }
            Err(_) => Err(ApiError::bad_request("upload-cut", "the body ended early: nothing was done")),
        }
    }
}

/// Returns the cause of an error whose own text only says what failed.
fn cause(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
