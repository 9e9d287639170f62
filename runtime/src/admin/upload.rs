//! Uploading modules: streamed to a temporary file, hashed on the way, published whole or not at all.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::limits;
use crate::names::ModuleHash;
use crate::persist::artifacts;

/// `HEAD /v1/modules/{hash}`: whether the module is stored.
pub async fn has_module(
    State(api): State<Arc<Api>>,
    Path(hash): Path<String>,
) -> Result<StatusCode, ApiError> {
    let hash = ModuleHash::parse(&hash)?;
    Ok(if api.registry.cache().has_module(hash) { StatusCode::OK } else { StatusCode::NOT_FOUND })
}

/// `PUT /v1/modules/{hash}`: stores the body if it is what the hash says.
pub async fn put_module(
    State(api): State<Arc<Api>>,
    Path(hash): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let hash = ModuleHash::parse(&hash)?;
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limits::MODULE_BYTES_MAX) {
        return Err(too_large());
    }
    let cache = api.registry.cache();
    let file = artifacts::temporary_in(cache.modules_dir())?;
    let mut writer = std::fs::File::options().write(true).open(file.path())?;
    let mut digest = Sha256::new();
    let mut bytes = 0;
    let mut body = body;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|_| ApiError::bad_request("upload-cut", "the upload ended early: nothing was stored"))?;
        let Ok(data) = frame.into_data() else { continue };
        bytes += data.len() as u64;
        if bytes > limits::MODULE_BYTES_MAX {
            return Err(too_large());
        }
        digest.update(&data);
        // Into the page cache; the one wait for the disk is in `publish`, off this thread.
        writer.write_all(&data)?;
    }
    if ModuleHash::new(digest.finalize().into()) != hash {
        let message = "the uploaded bytes do not have the announced SHA-256: nothing was stored";
        return Err(ApiError::bad_request("hash-mismatch", message));
    }
    let name = cache.module_path(hash);
    let published = tokio::task::spawn_blocking(move || file.publish(&name)).await;
    published.map_err(|error| ApiError::internal(error.to_string()))??;
    Ok(StatusCode::CREATED)
}

fn too_large() -> ApiError {
    let message = format!(
        "the module is larger than {} MB: strip debug information (wasm-tools strip, or strip = true in Cargo.toml)",
        limits::MODULE_BYTES_MAX / limits::MEBIBYTE
    );
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "module-too-large", message)
}
