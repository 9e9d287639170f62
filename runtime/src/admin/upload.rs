//! Receives modules and bundles: streamed to a temporary file, hashed meanwhile, published whole or not at all.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::admin::extract::Path;
use crate::limits;
use crate::names::{BundleHash, ModuleHash};
use crate::persist::artifacts::{self, TemporaryFile};

/// `HEAD /v1/modules/{hash}`: whether the module is stored, whole.
pub async fn has_module(
    State(api): State<Arc<Api>>,
    Path(hash): Path<String>,
) -> Result<StatusCode, ApiError> {
    let hash = ModuleHash::parse(&hash)?;
    let has = blocking(move || api.registry.cache().has_module(hash)).await?;
    Ok(if has { StatusCode::OK } else { StatusCode::NOT_FOUND })
}

/// `PUT /v1/modules/{hash}`: stores the body if it has this hash.
pub async fn put_module(
    State(api): State<Arc<Api>>,
    Path(hash): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let hash = ModuleHash::parse(&hash)?;
    let cache = api.registry.cache();
    let upload = Upload {
        folder: cache.modules_dir(),
        bytes_max: limits::MODULE_BYTES_MAX,
        too_large: module_too_large,
    };
    let file = upload.receive(hash, &headers, body).await?;
    let name = cache.module_path(hash);
    blocking(move || file.publish(&name)).await?;
    Ok(StatusCode::CREATED)
}

/// `HEAD /v1/bundles/{hash}`: whether the bundle is stored, whole.
pub async fn has_bundle(
    State(api): State<Arc<Api>>,
    Path(hash): Path<String>,
) -> Result<StatusCode, ApiError> {
    let hash = BundleHash::parse(&hash)?;
    let has = blocking(move || api.registry.bundles().has(hash)).await?;
    Ok(if has { StatusCode::OK } else { StatusCode::NOT_FOUND })
}

/// `PUT /v1/bundles/{hash}`: unpacks the body, a tar archive, if it has this hash.
pub async fn put_bundle(
    State(api): State<Arc<Api>>,
    Path(hash): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let hash = BundleHash::parse(&hash)?;
    let bundles = api.registry.bundles();
    let bytes_max = limits::BUNDLE_ARCHIVE_BYTES_MAX;
    let upload = Upload { folder: bundles.folder(), bytes_max, too_large: bundle_too_large };
    let file = upload.receive(hash, &headers, body).await?;
    let registry = api.registry.clone();
    blocking(move || registry.bundles().unpack(file.path(), hash)).await?;
    Ok(StatusCode::CREATED)
}

/// An upload, and where it is written.
struct Upload<'a> {
    folder: &'a std::path::Path,
    bytes_max: u64,
    too_large: fn() -> ApiError,
}

impl Upload<'_> {
    /// Writes the body to a temporary file and checks that it has the hash `hash`.
    async fn receive(
        &self,
        hash: ModuleHash,
        headers: &HeaderMap,
        mut body: Body,
    ) -> Result<TemporaryFile, ApiError> {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|bytes| bytes > self.bytes_max) {
            return Err((self.too_large)());
        }
        let mut stored = artifacts::temporary_in(self.folder);
        let mut digest = Sha256::new();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                ApiError::bad_request("upload-cut", "the upload ended early: nothing was stored")
            })?;
            let Ok(data) = frame.into_data() else { continue };
            bytes += data.len() as u64;
            if bytes > self.bytes_max {
                return Err((self.too_large)());
            }
            digest.update(&data);
            // Into the page cache; the one wait for the disk comes later, off this thread. Where there is no room the rest
            // is read all the same: a client that is still sending would not see the answer.
            if let Ok(file) = &mut stored
                && let Err(error) = file.file().write_all(&data)
            {
                stored = Err(error);
            }
        }
        let file = stored?;
        if ModuleHash::new(digest.finalize().into()) != hash {
            let message = "the uploaded bytes do not have the announced SHA-256: nothing was stored";
            return Err(ApiError::bad_request("hash-mismatch", message));
        }
        Ok(file)
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, ApiError>
where
    T: Send + 'static,
    E: Into<ApiError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(panic) => Err(ApiError::internal(panic.to_string())),
    }
}

fn module_too_large() -> ApiError {
    let message = format!(
        "the module is larger than {} MB: strip debug information (wasm-tools strip, or strip = true in Cargo.toml)",
        limits::MODULE_BYTES_MAX / limits::MEBIBYTE
    );
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "module-too-large", message)
}

fn bundle_too_large() -> ApiError {
    let megabytes = limits::BUNDLE_BYTES_MAX / limits::MEBIBYTE;
    let message = format!("the files of one folder are more than {megabytes} MB");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "bundle-too-large", message)
}
