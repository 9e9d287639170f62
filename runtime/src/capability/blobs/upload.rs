//! One upload: bytes are stored under a name of their own, part by part, and become a blob in one change at the end. An
//! upload that ends earlier leaves nothing visible.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use object_store::{MultipartUpload, PutPayload};
use parking_lot::Mutex;
use rusqlite::Transaction;
use tokio::sync::Notify;

use crate::capability::blobs::Blobs;
use crate::capability::blobs::error::BlobError;
use crate::capability::blobs::listeners::{self, Listeners};
use crate::capability::blobs::objects::Objects;
use crate::capability::blobs::table::{self, Object, Uploaded};
use crate::capability::request::{Condition, Version};
use crate::manifest::grants::Place;
use crate::persist::db::Db;
use crate::{clock, limits};

/// What unfinished uploads leave behind. It does not hold the database, because it may be dropped on the database's own
/// thread.
#[derive(Default)]
pub struct Unfinished {
    /// Uploads that are going on. Their rows look like those of unfinished uploads.
    live: Mutex<HashSet<Version>>,
    /// Uploads in parts that were given up, for the next sweep: at most as many as went on at once.
    parts: Mutex<Vec<Box<dyn MultipartUpload>>>,
    /// Wakes the sweep.
    pub left: Notify,
}

impl Unfinished {
    /// Whether the upload is going on.
    pub fn is_live(&self, version: Version) -> bool {
        self.live.lock().contains(&version)
    }

    /// Takes the uploads in parts that are to be aborted.
    pub fn take_parts(&self) -> Vec<Box<dyn MultipartUpload>> {
        std::mem::take(&mut *self.parts.lock())
    }
}

/// An object that is being uploaded. If it is dropped before it is finished, the upload is given up and a sweep removes
/// what it left.
struct Live {
    unfinished: Arc<Unfinished>,
    object: Object,
    /// The upload in parts, if the object is longer than one part.
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.unfinished.live.lock().remove(&self.object.version);
        self.unfinished.parts.lock().extend(self.parts.take());
        self.unfinished.left.notify_one();
    }
}

/// An upload that is going on.
pub struct Upload<'a> {
    db: &'a Db,
    objects: &'a Objects,
    listeners: &'a Listeners,
    live: Live,
}

impl<'a> Upload<'a> {
    /// Begins an upload. The database knows of it before the first byte is stored.
    pub async fn begin(blobs: &'a Blobs, place: &Place) -> Result<Self, BlobError> {
        let (place, unfinished) = (place.clone(), blobs.unfinished.clone());
        let begin = move |transaction: &Transaction<'_>| {
            let object = table::begin(transaction, &place)?;
            // Done within the change, so a sweep that sees the row also sees that it is live. If the caller no longer
            // waits, `Live` is dropped at once, which undoes this.
            unfinished.live.lock().insert(object.version);
            Ok(Live { unfinished, object, parts: None })
        };
        let Blobs { db, objects, listeners, .. } = blobs;
        Ok(Self { db, objects, listeners, live: db.write(begin).await? })
    }

    /// Stores all of `body` and returns its length in bytes. Durable when this returns.
    pub async fn receive(&mut self, body: impl Body<Data = Bytes>) -> Result<u64, BlobError> {
        let mut body = pin!(body);
        let part_bytes = self.objects.part_bytes();
        let (mut part, mut received) = (BytesMut::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(mut data) = frame.map_err(|_| BlobError::Body)?.into_data() else { continue };
            received += data.len() as u64;
            if received > limits::BLOB_BYTES_MAX {
                return Err(BlobError::TooLarge);
            }
            // Copied, because many small pieces take more memory than their bytes. All parts but the last have the same
            // length, as some servers require.
            while part.len() + data.len() >= part_bytes {
                part.extend_from_slice(&data.split_to(part_bytes - part.len()));
                self.put_part(part.split().freeze()).await?;
            }
            part.extend_from_slice(&data);
        }
        if self.live.parts.is_none() {
            self.objects.put(&self.live.object, part.freeze()).await?;
            return Ok(received);
        }
        if !part.is_empty() {
            self.put_part(part.freeze()).await?;
        }
        if let Some(parts) = &mut self.live.parts {
            parts.complete().await?;
        }
        self.live.parts = None;
        Ok(received)
    }

    async fn put_part(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let parts = match &mut self.live.parts {
            Some(parts) => parts,
            none => none.insert(self.objects.put_in_parts(&self.live.object).await?),
        };
        Ok(parts.put_part(PutPayload::from_bytes(bytes)).await?)
    }

    /// The version of the upload.
    pub fn version(&self) -> Version {
        self.live.object.version
    }

    /// Makes it the blob that `uploaded` describes, if `condition` is met, and wakes the triggers of the functions that
    /// listen.
    pub async fn finish(
        self,
        place: &Place,
        uploaded: Uploaded,
        condition: Condition,
    ) -> Result<(), BlobError> {
        let (place, now_ms) = (place.clone(), clock::now_ms());
        let told = self.listeners.of(&place, uploaded.name.as_str());
        let finish = move |transaction: &Transaction<'_>| {
            table::finish(transaction, &place, &uploaded, condition, now_ms)?;
            listeners::store(transaction, &told, &place, &uploaded, now_ms as i64)?;
            Ok::<_, BlobError>(told)
        };
        let told = self.db.write_unless_refused(finish).await?;
        self.listeners.notify(&told);
        Ok(())
    }
}
