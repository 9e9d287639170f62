//! Why a call to a blob container did nothing, with the stable code of each reason.

use std::io;

use http::StatusCode;

use crate::capability::blobs::range::Unmet;
use crate::capability::queues::error::QueueError;
use crate::capability::stores::{AccessError, StoreError};
use crate::limits;
use crate::manifest::grants::Kind;
use crate::names::AppName;
use crate::persist::error::DbError;

/// Why a call did nothing.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The request cannot be understood.
    #[error("{0}")]
    Request(String),
    /// The method is not allowed; holds the methods that are.
    #[error("this path takes {0}")]
    Method(&'static str),
    /// The app cannot use the container, or the database failed.
    #[error(transparent)]
    Access(AccessError),
    /// The name is not allowed ([`crate::capability::blobs::name`]).
    #[error("that is not the name of a blob: {0}")]
    InvalidName(&'static str),
    /// There is no such blob.
    #[error("there is no such blob")]
    NoBlob,
    /// The blob does not meet the condition of the request.
    #[error("the blob is not as it was expected to be")]
    Changed,
    /// The blob has no byte in the range that was asked for; holds its length.
    #[error("the blob has {0} bytes, none of them in that range")]
    Range(u64),
    /// The body ended early.
    #[error("the body ended early: nothing was stored")]
    Body,
    /// The blob is longer than [`limits::BLOB_BYTES_MAX`].
    #[error("the blob has more than {max} bytes, which is the most", max = limits::BLOB_BYTES_MAX)]
    TooLarge,
    /// The app would exceed [`limits::BLOBS_PER_APP_MAX`] or [`limits::BLOB_BYTES_PER_APP_MAX`].
    #[error(
        "the containers of app {0} would hold more than {blobs} blobs or {bytes} bytes, which is the most: delete some",
        blobs = limits::BLOBS_PER_APP_MAX,
        bytes = limits::BLOB_BYTES_PER_APP_MAX
    )]
    Full(AppName),
    /// The event for a function of blobs could not be stored.
    #[error("the event for a function of blobs: {0}")]
    Event(QueueError),
    /// Nobody waits for the upload any more, or the host is ending.
    #[error("the upload was given up: try again")]
    GivenUp,
    /// The disk is full.
    #[error("the disk of the data directory is full: nothing was stored")]
    DiskFull,
    /// The store that holds the bytes failed; holds its message.
    #[error("the store of blobs failed: {0}")]
    Store(String),
}

impl From<Unmet> for BlobError {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::Changed => Self::Changed,
            Unmet::Range(bytes) => Self::Range(bytes),
        }
    }
}

impl<E: Into<AccessError>> From<E> for BlobError {
    fn from(error: E) -> Self {
        Self::Access(error.into())
    }
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
            match error.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(kind) if full.contains(&kind) => return Self::DiskFull,
                Some(io::ErrorKind::ReadOnlyFilesystem) => return DbError::ReadOnly.into(),
                _ => {}
            }
            cause = error.source();
        }
        Self::Store(error.to_string())
    }
}

impl StoreError for BlobError {
    const KIND: Kind = Kind::BlobContainer;

    fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Request(_) => (StatusCode::BAD_REQUEST, "bad-request"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
            Self::Access(error) => error.answer(),
            Self::InvalidName(_) => (StatusCode::BAD_REQUEST, "invalid-blob-name"),
            Self::NoBlob => (StatusCode::NOT_FOUND, "no-such-blob"),
            Self::Changed => (StatusCode::PRECONDITION_FAILED, "blob-changed"),
            Self::Range(_) => (StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable"),
            Self::Body => (StatusCode::BAD_REQUEST, "body-broken"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "blob-too-large"),
            Self::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "containers-full"),
            Self::Event(error) => error.answer(),
            Self::GivenUp => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Self::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk-full"),
            Self::Store(_) => (StatusCode::BAD_GATEWAY, "blob-store-failed"),
        }
    }

    fn access(&self) -> Option<&AccessError> {
        if let Self::Access(error) = self { Some(error) } else { None }
    }

    fn is_for_the_operator(&self) -> bool {
        match self {
            Self::Event(error) => error.is_for_the_operator(),
            other => matches!(other, Self::DiskFull | Self::Store(_) | Self::Access(AccessError::Db(_))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let failed = |kind: io::ErrorKind| {
            BlobError::from(object_store::Error::Generic {
                store: "disk",
                source: Box::new(io::Error::from(kind)),
            })
        };
        assert_eq!(
            failed(io::ErrorKind::StorageFull).answer(),
            (StatusCode::INSUFFICIENT_STORAGE, "disk-full")
        );
        assert_eq!(failed(io::ErrorKind::QuotaExceeded).answer().1, "disk-full");
        assert_eq!(failed(io::ErrorKind::ReadOnlyFilesystem).answer().1, "disk-read-only");
        assert_eq!(
            failed(io::ErrorKind::PermissionDenied).answer(),
            (StatusCode::BAD_GATEWAY, "blob-store-failed")
        );
    }
}
