//! Blobs: named bytes of any length in containers, for the apps whose manifests name them.
//!
//! The database has names, versions and lengths. The bytes are files of the data directory or objects of S3
//! ([`objects`]); each upload is written once, under a name of its own. So a blob changes in one transaction, wherever
//! its bytes are: readers see the old blob or the new one, and an `ETag` is never used twice. Bytes that a killed host
//! leaves are visible to nobody, and the next start removes them.

pub mod error;
pub mod event;
pub mod http;
pub mod listeners;
pub mod name;
pub mod objects;
pub mod range;
mod s3;
pub mod table;
mod upload;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use rusqlite::{Connection, Transaction};
use tokio::sync::Semaphore;

use crate::capability::blobs::error::BlobError;
use crate::capability::blobs::listeners::Listeners;
use crate::capability::blobs::name::BlobName;
use crate::capability::blobs::objects::{BlobBody, Location, Objects};
use crate::capability::blobs::table::{Blob, Uploaded};
use crate::capability::blobs::upload::{Unfinished, Upload};
use crate::capability::neighbours::Neighbours;
use crate::capability::queues::Queues;
use crate::capability::request::{Condition, Listing, Version};
use crate::capability::stores;
use crate::limits;
use crate::manifest::grants::{Grants, Kind, Place, StoreLabel};
use crate::names::AppName;
use crate::persist::db::Db;
use crate::persist::error::DbError;

/// The blobs of one host.
pub struct Blobs {
    db: Arc<Db>,
    objects: Objects,
    unfinished: Arc<Unfinished>,
    listeners: Listeners,
    /// Limits the uploads and downloads of operators.
    turns: Turns,
}

/// Limits how many uploads and downloads run at once.
#[derive(Clone)]
struct Turns {
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            uploads: Arc::new(Semaphore::new(limits::BLOB_UPLOADS_MAX)),
            downloads: Arc::new(Semaphore::new(limits::BLOB_DOWNLOADS_MAX)),
        }
    }
}

/// Why the blobs of a host cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made, or the settings of S3 are wrong.
    #[error("open the store of blobs: {0}")]
    Io(#[from] std::io::Error),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The bytes of the blobs are at another location.
    #[error("the blobs of this host are in {0}, not in {1}: say so with --blobs, or remove them first")]
    Elsewhere(String, Location),
}

impl Blobs {
    /// Opens the blobs of `db`, with their bytes at `location`. Events for functions of blobs go to `queues`.
    pub async fn open(
        db: &Arc<Db>,
        location: &Location,
        data_dir: &Path,
        queues: Arc<Queues>,
    ) -> Result<Arc<Self>, OpenError> {
        let noted = location.to_string();
        if let Some(other) = db.write(move |transaction| table::locate(transaction, &noted)).await? {
            return Err(OpenError::Elsewhere(other, location.clone()));
        }
        let objects = Objects::open(location, data_dir)?;
        let (unfinished, turns) = (Arc::default(), Turns::default());
        let listeners = Listeners::new(queues);
        Ok(Arc::new(Self { db: db.clone(), objects, unfinished, listeners, turns }))
    }

    /// The functions that get an event for each new version.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// A container, without a check of grants.
    pub fn container(self: &Arc<Self>, place: Place) -> Container {
        Container { blobs: self.clone(), place, turns: self.turns.clone() }
    }

    /// Wakes the sweep, because there may be bytes that no blob uses.
    pub fn sweep_soon(&self) {
        self.unfinished.left.notify_one();
    }

    /// Removes bytes that no blob uses: those that a kill has left, then whenever there are more. Does not end.
    pub async fn keep_swept(&self) {
        loop {
            if let Err(error) = self.sweep().await {
                tracing::warn!("remove blobs that are gone: {error}");
            }
            self.unfinished.left.notified().await;
        }
    }

    async fn sweep(&self) -> Result<(), BlobError> {
        for mut parts in self.unfinished.take_parts() {
            // If the store cannot be reached, rules of its own end uploads that were never finished.
            if let Err(error) = parts.abort().await {
                tracing::debug!("abort an upload: {error}");
            }
        }
        loop {
            let unfinished = self.unfinished.clone();
            let removable = move |transaction: &Transaction<'_>| {
                table::removable(transaction, |version| unfinished.is_live(version))
            };
            let objects = self.db.write(removable).await?;
            if objects.is_empty() {
                return Ok(());
            }
            for object in &objects {
                self.objects.remove(object).await?;
            }
            self.db.write(move |transaction| table::forget(transaction, &objects)).await?;
        }
    }
}

/// The blob containers that the guests of one revision may use, and limits for their uploads and downloads.
pub struct Containers {
    grants: Grants,
    turns: Turns,
}

impl Containers {
    /// Grants the `containers` that the manifest of `app` names.
    pub fn new(app: &AppName, containers: &[StoreLabel]) -> Self {
        Self { grants: Grants::new(Kind::BlobContainer, app, containers), turns: Turns::default() }
    }

    /// The container with the label `text` (`CONTAINER` or `OWNER/CONTAINER`), if the app may use it now.
    pub fn container(
        &self,
        neighbours: &dyn Neighbours,
        blobs: &Arc<Blobs>,
        text: &str,
    ) -> Result<Container, BlobError> {
        let place = stores::granted(&self.grants, neighbours, text)?;
        Ok(Container { blobs: blobs.clone(), place, turns: self.turns.clone() })
    }
}

/// One container.
pub struct Container {
    blobs: Arc<Blobs>,
    place: Place,
    turns: Turns,
}

/// One page of blobs.
pub struct Page {
    /// The blobs, in the order of the bytes of their names.
    pub blobs: Vec<Blob>,
    /// The name after which the next page begins; `None` if this is the last page.
    pub next: Option<String>,
}

impl Container {
    /// The blob `name`, without its bytes.
    pub async fn get(&self, name: &BlobName) -> Result<Option<Blob>, BlobError> {
        let (place, name) = (self.place.clone(), name.clone());
        Ok(self.blobs.db.read(move |connection: &Connection| table::get(connection, &place, &name)).await?)
    }

    /// The bytes `range` of a blob; `None` if it was replaced or deleted since it was looked up. Waits while this
    /// revision has as many downloads as it may.
    pub async fn read(&self, blob: &Blob, range: Range<u64>) -> Result<Option<BlobBody>, BlobError> {
        let turn = self.turns.downloads.clone().acquire_owned().await.map_err(|_| BlobError::GivenUp)?;
        self.blobs.objects.read(&blob.object, range, turn).await
    }

    /// The page that `listing` asks for.
    pub async fn list(&self, listing: Listing) -> Result<Page, BlobError> {
        let place = self.place.clone();
        let Listing { prefix, after, limit } = listing;
        let limit = limit.clamp(1, limits::BLOB_PAGE_MAX);
        // One blob more than asked for shows whether there are more.
        let read = move |connection: &Connection| table::list(connection, &place, &prefix, &after, limit + 1);
        let mut blobs = self.blobs.db.read(read).await?;
        let has_more = blobs.len() > limit;
        blobs.truncate(limit);
        let next = if has_more { blobs.last().map(|blob| blob.name.clone()) } else { None };
        Ok(Page { blobs, next })
    }

    /// Stores `body` as the blob `name` if `condition` is met; that is checked before the first byte and after the last
    /// one. Durable when this returns. Waits while this revision has as many uploads as it may.
    pub async fn put(
        &self,
        name: &BlobName,
        body: impl Body<Data = Bytes>,
        content_type: String,
        condition: Condition,
    ) -> Result<Stored, BlobError> {
        let _turn = self.turns.uploads.acquire().await.map_err(|_| BlobError::GivenUp)?;
        table::check(condition, self.get(name).await?.as_ref())?;
        let mut upload = Upload::begin(&self.blobs, &self.place).await?;
        let bytes = upload.receive(body).await?;
        let version = upload.version();
        let uploaded = Uploaded { version, name: name.clone(), bytes, content_type };
        upload.finish(&self.place, uploaded, condition).await?;
        Ok(Stored { version, bytes })
    }

    /// Removes `name` if `condition` is met. Returns whether it existed.
    pub async fn delete(&self, name: &BlobName, condition: Condition) -> Result<bool, BlobError> {
        let (place, name) = (self.place.clone(), name.clone());
        let delete =
            move |transaction: &Transaction<'_>| table::delete(transaction, &place, &name, condition);
        let was_there = self.blobs.db.write_unless_refused(delete).await?;
        self.blobs.sweep_soon();
        Ok(was_there)
    }
}

/// The result of a write.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// The new version.
    pub version: Version,
    /// Length in bytes.
    pub bytes: u64,
}
