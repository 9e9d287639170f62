//! Blobs: named bytes of any length in containers, for the apps whose manifests name them.
//!
//! The database knows names, versions and lengths; the bytes are files of the data directory or objects of S3
//! ([`objects`]), each written once under a name of its own. So a blob changes in one transaction whatever holds its
//! bytes: readers see the old one or the new one, an `ETag` never comes again, and a kill leaves bytes that nobody sees
//! and the next start removes.

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
    /// For operators.
    turns: Turns,
}

/// How many uploads and downloads there may be at once.
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

/// Why a host has no blobs.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder, or the settings of S3.
    #[error("open the store of blobs: {0}")]
    Io(#[from] std::io::Error),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// There are blobs, but elsewhere.
    #[error("the blobs of this host are in {0}, not in {1}: say so with --blobs, or remove them first")]
    Elsewhere(String, Location),
}

impl Blobs {
    /// The blobs that `db` knows, with their bytes at `location`; what functions are told of them goes to `queues`.
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

    /// The functions that are told of new versions.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// A container, for whoever needs no grant.
    pub fn container(self: &Arc<Self>, place: Place) -> Container {
        Container { blobs: self.clone(), place, turns: self.turns.clone() }
    }

    /// Bytes may have fallen out of use.
    pub fn sweep_soon(&self) {
        self.unfinished.left.notify_one();
    }

    /// Removes what nobody sees any more: what a kill has left, then whenever there is more. Does not end.
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
            // Where it cannot be reached, rules of its own end uploads that were never finished.
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

/// What the guests of one revision may use.
pub struct Containers {
    grants: Grants,
    turns: Turns,
}

impl Containers {
    /// What the manifest of `app` grants.
    pub fn new(app: &AppName, containers: &[StoreLabel]) -> Self {
        Self { grants: Grants::new(Kind::BlobContainer, app, containers), turns: Turns::default() }
    }

    /// The container that a guest calls `text`, if it may use it now.
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
    /// The name to go on after, if there are more.
    pub next: Option<String>,
}

impl Container {
    /// The blob `name`, without its bytes.
    pub async fn get(&self, name: &BlobName) -> Result<Option<Blob>, BlobError> {
        let (place, name) = (self.place.clone(), name.clone());
        Ok(self.blobs.db.read(move |connection: &Connection| table::get(connection, &place, &name)).await?)
    }

    /// The bytes `range` of a blob; `None` where it was replaced or deleted since it was looked up. Waits while this
    /// revision has as many downloads as it may.
    pub async fn read(&self, blob: &Blob, range: Range<u64>) -> Result<Option<BlobBody>, BlobError> {
        let turn = self.turns.downloads.clone().acquire_owned().await.map_err(|_| BlobError::GivenUp)?;
        self.blobs.objects.read(&blob.object, range, turn).await
    }

    /// The page that `listing` names.
    pub async fn list(&self, listing: Listing) -> Result<Page, BlobError> {
        let place = self.place.clone();
        let Listing { prefix, after, limit } = listing;
        let limit = limit.clamp(1, limits::BLOB_PAGE_MAX);
        // One more than asked for tells whether there are more.
        let read = move |connection: &Connection| table::list(connection, &place, &prefix, &after, limit + 1);
        let mut blobs = self.blobs.db.read(read).await?;
        let has_more = blobs.len() > limit;
        blobs.truncate(limit);
        let next = if has_more { blobs.last().map(|blob| blob.name.clone()) } else { None };
        Ok(Page { blobs, next })
    }

    /// Stores `body` as the blob `name` if `condition` is met, before its first byte and after its last. Durable when this
    /// returns. Waits while this revision has as many uploads as it may.
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

    /// Removes `name` if `condition` is met. Says whether it was there.
    pub async fn delete(&self, name: &BlobName, condition: Condition) -> Result<bool, BlobError> {
        let (place, name) = (self.place.clone(), name.clone());
        let delete =
            move |transaction: &Transaction<'_>| table::delete(transaction, &place, &name, condition);
        let was_there = self.blobs.db.write_unless_refused(delete).await?;
        self.blobs.sweep_soon();
        Ok(was_there)
    }
}

/// What a write has made.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// Its version.
    pub version: Version,
    /// How many bytes it has.
    pub bytes: u64,
}
