//! Stores the bytes of blobs: as files below the data directory, or as objects of S3. Each upload has a name that is
//! never used again, so nothing is ever overwritten.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::sync::OwnedSemaphorePermit;

use crate::capability::blobs::error::BlobError;
use crate::capability::blobs::s3;
use crate::capability::blobs::table::Object;
use crate::limits;

/// The store that an operator has chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Location {
    /// The folder `blobs` of the data directory.
    #[default]
    DataDir,
    /// A bucket of S3, or of a service with the same API.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// What all keys begin with, without a slash at either end; may be empty.
        prefix: String,
    },
}

impl Location {
    /// Reads `s3://BUCKET[/PREFIX]`. The error says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "use s3://BUCKET or s3://BUCKET/PREFIX".to_owned();
        let rest = text.strip_prefix("s3://").ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let prefix = prefix.trim_end_matches('/');
        let is_prefix = Key::parse(prefix).is_ok_and(|key| key.as_ref() == prefix);
        match (3..=63).contains(&bucket.len()) && bucket.bytes().all(is_inner) && is_prefix {
            true => Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() }),
            false => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DataDir => f.write_str("the data directory"),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// The bytes of a blob, as a stream. It fails if they end early.
pub type BlobBody = UnsyncBoxBody<Bytes, io::Error>;

/// The store of bytes of one host.
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// What all keys begin with.
    prefix: Key,
    /// The folder; `None` for S3.
    folder: Option<PathBuf>,
    /// Bytes of a part of an upload.
    part_bytes: usize,
}

impl Objects {
    /// Opens the store at `location`. For S3, environment variables say how to reach it.
    pub fn open(location: &Location, data_dir: &Path) -> io::Result<Self> {
        match location {
            Location::DataDir => {
                let folder = data_dir.join("blobs");
                DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
                File::open(data_dir)?.sync_all()?;
                let store = LocalFileSystem::new_with_prefix(&folder)?;
                // An upload is acknowledged after its bytes and its name are on the disk. Empty folders are removed.
                let store = Arc::new(store.with_fsync(true).with_automatic_cleanup(true));
                let part_bytes = limits::BLOB_FILE_PART_BYTES;
                Ok(Self { store, prefix: Key::default(), folder: Some(folder), part_bytes })
            }
            Location::S3 { bucket, prefix } => {
                let store = Arc::new(s3::open(bucket).map_err(io::Error::other)?);
                let prefix = Key::parse(prefix).map_err(io::Error::other)?;
                Ok(Self { store, prefix, folder: None, part_bytes: limits::BLOB_S3_PART_BYTES })
            }
        }
    }

    /// Length of each part of an upload but the last, in bytes.
    pub fn part_bytes(&self) -> usize {
        self.part_bytes
    }

    fn key(&self, object: &Object) -> Key {
        let below = object.folder.split('/').map(str::to_owned).chain([object.version.to_string()]);
        below.fold(self.prefix.clone(), |key, part| key.join(part))
    }

    /// Stores a small object; durable when this returns.
    pub async fn put(&self, object: &Object, bytes: Bytes) -> Result<(), BlobError> {
        Ok(self.store.put(&self.key(object), PutPayload::from_bytes(bytes)).await.map(drop)?)
    }

    /// Begins to store an object in parts; durable when it is completed.
    pub async fn put_in_parts(&self, object: &Object) -> Result<Box<dyn MultipartUpload>, BlobError> {
        Ok(self.store.put_multipart(&self.key(object)).await?)
    }

    /// The bytes `range` of an object; `None` if it does not exist. They hold `permit` until they have been taken.
    pub async fn read(
        &self,
        object: &Object,
        range: Range<u64>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Option<BlobBody>, BlobError> {
        if range.is_empty() {
            return Ok(Some(body(futures_util::stream::empty(), permit)));
        }
        let options = GetOptions { range: Some(range.clone().into()), ..GetOptions::default() };
        let result = match self.store.get_opts(&self.key(object), options).await {
            Ok(result) => result,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if result.range != range {
            return Err(BlobError::Store(format!(
                "it has {} bytes where more were stored",
                result.meta.size
            )));
        }
        Ok(Some(match result.payload {
            GetResultPayload::File(file, _) => body(chunks(file, range), permit),
            GetResultPayload::Stream(stream) => body(stream.map_err(io::Error::other), permit),
        }))
    }

    /// Removes an object, or what an unfinished upload has left of it.
    pub async fn remove(&self, object: &Object) -> Result<(), BlobError> {
        let key = self.key(object);
        if let Some(folder) = &self.folder {
            // The library writes an upload to this file and then renames it. A kill in between leaves the file.
            let unfinished = folder.join(format!("{key}#1"));
            match fs::remove_file(unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(BlobError::Store(error.to_string()));
                }
                _ => {}
            }
        }
        match self.store.delete(&key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn body(
    stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    permit: OwnedSemaphorePermit,
) -> BlobBody {
    let frames = stream.map(move |chunk| {
        let _held = &permit;
        chunk.map(Frame::data)
    });
    StreamBody::new(frames).boxed_unsync()
}

/// The bytes `range` of a file, each chunk read when it is asked for.
fn chunks(file: File, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> {
    let file = Arc::new(file);
    futures_util::stream::try_unfold(range, move |left| {
        let file = file.clone();
        async move {
            if left.is_empty() {
                return Ok(None);
            }
            let read = move || {
                let most = (left.end - left.start).min(limits::BLOB_CHUNK_BYTES as u64);
                let mut chunk = vec![0; most as usize];
                let count = file.read_at(&mut chunk, left.start)?;
                if count == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                chunk.truncate(count);
                Ok(Some((Bytes::from(chunk), left.start + count as u64..left.end)))
            };
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_buckets_with_a_prefix_or_without() {
        for text in ["s3://bucket", "s3://my.bucket-1/a/b"] {
            assert_eq!(Location::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Location::parse("s3://bucket/a/").unwrap().to_string(), "s3://bucket/a");
        for text in [
            "",
            "bucket",
            "s3://",
            "s3://ab",
            "s3://Bucket",
            "s3://bucket//a",
            "s3://bucket/../a",
            "gs://bucket",
        ] {
            assert!(Location::parse(text).unwrap_err().contains("s3://BUCKET"), "{text}");
        }
    }
}
