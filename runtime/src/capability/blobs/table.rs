//! Containers and blobs in the database: each function is one read or one atomic change. The bytes are elsewhere
//! ([`super::objects`]), those of each upload under a name of its own.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::capability::blobs::error::BlobError;
use crate::capability::blobs::name::BlobName;
use crate::capability::request::{Condition, Version};
use crate::capability::stores;
use crate::limits;
use crate::manifest::grants::{Kind, Place};
use crate::names::AppName;

/// A blob, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The version, given by the write.
    pub version: Version,
    /// Its name in its container.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Media type given by the writer.
    pub content_type: String,
    /// When it was written (RFC 3339).
    pub modified: String,
    /// Where its bytes are.
    pub object: Object,
}

/// Where the bytes of one upload are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The owner and the container it was written to.
    pub folder: String,
    /// The version of the upload.
    pub version: Version,
}

/// What containers hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of blobs.
    pub blobs: i64,
    /// Their bytes, without their names.
    pub bytes: i64,
}

impl Usage {
    fn of(blob: Option<&Blob>) -> Self {
        blob.map_or_else(Self::default, |blob| Self { blobs: 1, bytes: blob.bytes as i64 })
    }

    fn plus(self, other: Self) -> Self {
        Self { blobs: self.blobs + other.blobs, bytes: self.bytes + other.bytes }
    }

    fn minus(self, other: Self) -> Self {
        Self { blobs: self.blobs - other.blobs, bytes: self.bytes - other.bytes }
    }

    fn is_within_bounds(self) -> bool {
        self.blobs <= limits::BLOBS_PER_APP_MAX as i64 && self.bytes <= limits::BLOB_BYTES_PER_APP_MAX as i64
    }
}

const COLUMNS: &str = "version, name, bytes, content_type,
                       strftime('%Y-%m-%dT%H:%M:%fZ', modified_ms / 1000.0, 'unixepoch'), folder";

fn blob(row: &Row<'_>) -> rusqlite::Result<Blob> {
    let version = row.get(0)?;
    Ok(Blob {
        version,
        name: row.get(1)?,
        bytes: row.get::<_, i64>(2)? as u64,
        content_type: row.get(3)?,
        modified: row.get(4)?,
        object: Object { folder: row.get(5)?, version },
    })
}

/// The blob `name`.
pub fn get(connection: &Connection, place: &Place, name: &BlobName) -> rusqlite::Result<Option<Blob>> {
    let query = format!(
        "SELECT {COLUMNS} FROM blob
         WHERE container = (SELECT id FROM blob_container WHERE app = ?1 AND name = ?2) AND name = ?3"
    );
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_row(params![place.app.as_str(), place.store.as_str(), name.as_str()], blob).optional()
}

/// Blobs whose names begin with `prefix` and come after `after` in the order of their bytes, at most `count`.
pub fn list(
    connection: &Connection,
    place: &Place,
    prefix: &str,
    after: &str,
    count: usize,
) -> rusqlite::Result<Vec<Blob>> {
    let query = format!(
        "SELECT {COLUMNS} FROM blob
         WHERE container = (SELECT id FROM blob_container WHERE app = ?1 AND name = ?2)
         AND name >= ?3 AND name > ?4 ORDER BY name LIMIT ?5"
    );
    let mut statement = connection.prepare_cached(&query)?;
    let parameters = params![place.app.as_str(), place.store.as_str(), prefix, after, count as i64];
    let rows = statement.query_map(parameters, blob)?;
    // In this order the blobs with the prefix are adjacent and come first.
    let is_listed = |blob: &rusqlite::Result<Blob>| !blob.as_ref().is_ok_and(|b| !b.name.starts_with(prefix));
    rows.take_while(is_listed).collect()
}

/// The containers that an app has, with what each holds.
pub fn containers(connection: &Connection, app: &AppName) -> rusqlite::Result<Vec<(String, Usage)>> {
    let query = "SELECT name, blobs, bytes FROM blob_container WHERE app = ?1 ORDER BY name";
    let mut statement = connection.prepare_cached(query)?;
    let rows = statement.query_map([app.as_str()], |row| {
        Ok((row.get(0)?, Usage { blobs: row.get(1)?, bytes: row.get(2)? }))
    })?;
    rows.collect()
}

/// Begins an upload. It is invisible until [`finish`].
pub fn begin(transaction: &Transaction<'_>, place: &Place) -> rusqlite::Result<Object> {
    let folder = format!("{}/{}", place.app, place.store);
    transaction.prepare_cached("INSERT INTO blob (folder) VALUES (?1)")?.execute([&folder])?;
    Ok(Object { folder, version: transaction.last_insert_rowid() })
}

/// An upload whose bytes are stored, ready for [`finish`].
#[derive(Debug, Clone)]
pub struct Uploaded {
    /// The version that [`begin`] gave it.
    pub version: Version,
    /// The name it gets.
    pub name: BlobName,
    /// Length in bytes.
    pub bytes: u64,
    /// Media type given by the writer.
    pub content_type: String,
}

/// Makes an upload the blob of its name, if `condition` is met. Fails if the containers of the app would exceed a
/// limit, or if the upload was given up.
pub fn finish(
    transaction: &Transaction<'_>,
    place: &Place,
    uploaded: &Uploaded,
    condition: Condition,
    now_ms: u64,
) -> Result<(), BlobError> {
    let found = get(transaction, place, &uploaded.name)?;
    check(condition, found.as_ref())?;
    let container = match stores::row(transaction, Kind::BlobContainer, place)? {
        Some(container) => container,
        None => stores::make(transaction, Kind::BlobContainer, place)?,
    };
    let change = Usage { blobs: 1, bytes: uploaded.bytes as i64 }.minus(Usage::of(found.as_ref()));
    // A change that makes no container larger is allowed although the containers are full.
    let grows = change.blobs > 0 || change.bytes > 0;
    if grows && !usage_of_app(transaction, &place.app)?.plus(change).is_within_bounds() {
        return Err(BlobError::Full(place.app.clone()));
    }
    if let Some(found) = found {
        hide(transaction, found.version)?;
    }
    count(transaction, container, change)?;
    let statement =
        "UPDATE blob SET container = ?2, name = ?3, bytes = ?4, content_type = ?5, modified_ms = ?6
                     WHERE version = ?1 AND container IS NULL AND is_removed = 0";
    let Uploaded { version, name, bytes, content_type } = uploaded;
    let parameters = params![version, container, name.as_str(), *bytes as i64, content_type, now_ms as i64];
    match transaction.prepare_cached(statement)?.execute(parameters)? {
        0 => Err(BlobError::GivenUp),
        _ => Ok(()),
    }
}

/// Removes `name` if `condition` is met. Returns whether it existed.
pub fn delete(
    transaction: &Transaction<'_>,
    place: &Place,
    name: &BlobName,
    condition: Condition,
) -> Result<bool, BlobError> {
    let found = get(transaction, place, name)?;
    check(condition, found.as_ref())?;
    let container = stores::row(transaction, Kind::BlobContainer, place)?;
    let (Some(container), Some(found)) = (container, found) else { return Ok(false) };
    count(transaction, container, Usage::default().minus(Usage::of(Some(&found))))?;
    hide(transaction, found.version)?;
    Ok(true)
}

/// Fails if what exists does not meet `condition`.
pub fn check(condition: Condition, found: Option<&Blob>) -> Result<(), BlobError> {
    if condition.is_met_by(found.map(|blob| blob.version)) { Ok(()) } else { Err(BlobError::Changed) }
}

/// Makes a blob or an upload invisible. A sweep removes its bytes.
fn hide(transaction: &Transaction<'_>, version: Version) -> rusqlite::Result<()> {
    let statement = "UPDATE blob SET container = NULL, name = NULL, is_removed = 1 WHERE version = ?1";
    transaction.prepare_cached(statement)?.execute([version]).map(drop)
}

fn usage_of_app(transaction: &Transaction<'_>, app: &AppName) -> rusqlite::Result<Usage> {
    let query = "SELECT coalesce(sum(blobs), 0), coalesce(sum(bytes), 0) FROM blob_container WHERE app = ?1";
    let usage = |row: &Row<'_>| Ok(Usage { blobs: row.get(0)?, bytes: row.get(1)? });
    transaction.prepare_cached(query)?.query_row([app.as_str()], usage)
}

/// Adds `change`, which may be negative, to the counts of the container.
fn count(transaction: &Transaction<'_>, container: i64, change: Usage) -> rusqlite::Result<()> {
    let statement = "UPDATE blob_container SET blobs = blobs + ?2, bytes = bytes + ?3 WHERE id = ?1";
    transaction.prepare_cached(statement)?.execute(params![container, change.blobs, change.bytes]).map(drop)
}

/// Removes all containers of an app and returns how many there were. Nobody can use them from then on; a sweep removes
/// their bytes.
pub fn drop_containers(transaction: &Transaction<'_>, app: &AppName) -> rusqlite::Result<usize> {
    transaction.execute("UPDATE blob_container SET app = NULL WHERE app = ?1", [app.as_str()])
}

/// Some objects whose bytes are to be removed: of blobs that were replaced or deleted, of dropped containers, and of
/// uploads that are not `is_live`. Those uploads cannot be finished from then on.
pub fn removable(
    transaction: &Transaction<'_>,
    is_live: impl Fn(Version) -> bool,
) -> rusqlite::Result<Vec<Object>> {
    let some = limits::BLOB_SWEEP_MAX as i64;
    transaction.execute(
        "UPDATE blob SET container = NULL, name = NULL, is_removed = 1 WHERE version IN
         (SELECT version FROM blob WHERE container IN (SELECT id FROM blob_container WHERE app IS NULL) LIMIT ?1)",
        [some],
    )?;
    transaction.execute(
        "DELETE FROM blob_container WHERE app IS NULL AND NOT EXISTS
         (SELECT 1 FROM blob WHERE container = blob_container.id)",
        [],
    )?;
    let uploads = "SELECT version FROM blob WHERE container IS NULL AND is_removed = 0";
    let uploads: Vec<Version> =
        transaction.prepare_cached(uploads)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for version in uploads.into_iter().filter(|version| !is_live(*version)) {
        hide(transaction, version)?;
    }
    let query = "SELECT folder, version FROM blob WHERE container IS NULL AND is_removed = 1
                 ORDER BY version LIMIT ?1";
    let object = |row: &Row<'_>| Ok(Object { folder: row.get(0)?, version: row.get(1)? });
    transaction.prepare_cached(query)?.query_map([some], object)?.collect()
}

/// Removes the rows of objects whose bytes are removed.
pub fn forget(transaction: &Transaction<'_>, objects: &[Object]) -> rusqlite::Result<()> {
    let mut statement =
        transaction.prepare_cached("DELETE FROM blob WHERE version = ?1 AND is_removed = 1")?;
    objects.iter().try_for_each(|object| statement.execute([object.version]).map(drop))
}

/// Stores the location of the bytes. If there are blobs at another location, changes nothing and returns that one.
pub fn locate(transaction: &Transaction<'_>, location: &str) -> rusqlite::Result<Option<String>> {
    let query = "SELECT location, EXISTS (SELECT 1 FROM blob) FROM blob_location";
    let noted: Option<(String, bool)> =
        transaction.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match noted {
        // Nothing is written, because the disk may be full.
        Some((noted, _)) if noted == location => return Ok(None),
        Some((noted, true)) => return Ok(Some(noted)),
        Some((_, false)) | None => {}
    }
    transaction.execute("DELETE FROM blob_location", [])?;
    transaction.execute("INSERT INTO blob_location VALUES (?1)", [location])?;
    Ok(None)
}

#[cfg(test)]
mod tests;
