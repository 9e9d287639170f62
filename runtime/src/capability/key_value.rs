//! Key-value stores: durable, in the host's database, for the apps whose manifests name them.
//!
//! A write is answered when it is on the disk; a read sees every write that was answered before. Guests come by
//! `wasi:keyvalue` (`instance/guest/key_value.rs`) or by HTTP ([`http`]), operators by the admin API.

pub mod error;
pub mod http;
pub mod table;

use std::sync::Arc;

use rusqlite::{Connection, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::capability::key_value::error::KeyValueError;
use crate::capability::key_value::table::{Entry, Version};
use crate::capability::neighbours::Neighbours;
use crate::capability::request::Condition;
use crate::capability::stores;
use crate::limits;
use crate::manifest::grants::{Grants, Kind, Place, StoreLabel};
use crate::names::AppName;
use crate::persist::db::Db;
use crate::persist::error::DbError;

/// What the guests of one revision may use.
pub struct KeyValue {
    grants: Grants,
    pending: Arc<Semaphore>,
}

impl KeyValue {
    /// What the manifest of `app` grants.
    pub fn new(app: &AppName, stores: &[StoreLabel]) -> Self {
        let pending = Arc::new(Semaphore::new(limits::KEY_VALUE_PENDING_BYTES_MAX));
        Self { grants: Grants::new(Kind::KeyValueStore, app, stores), pending }
    }

    /// The store that a guest calls `text`, if it may use it now.
    pub fn store(
        &self,
        neighbours: &dyn Neighbours,
        db: &Arc<Db>,
        text: &str,
    ) -> Result<Store, KeyValueError> {
        let place = stores::granted(&self.grants, neighbours, text)?;
        Ok(Store { db: db.clone(), place })
    }

    /// Room in the host's memory for `bytes` that are to be written; an error where there is none.
    pub fn try_room(&self, bytes: usize) -> Result<BufferRoom, KeyValueError> {
        let bytes = u32::try_from(bytes).map_err(|_| KeyValueError::Busy)?;
        self.pending.clone().try_acquire_many_owned(bytes).map(BufferRoom).map_err(|_| KeyValueError::Busy)
    }

    /// Waits for room for `bytes`, at most [`limits::KEY_VALUE_VALUE_BYTES_MAX`].
    pub async fn room(&self, bytes: usize) -> Result<BufferRoom, KeyValueError> {
        let bytes = bytes.min(limits::KEY_VALUE_VALUE_BYTES_MAX) as u32;
        self.pending.clone().acquire_many_owned(bytes).await.map(BufferRoom).map_err(|_| KeyValueError::Busy)
    }
}

/// Room in the host's memory for bytes on their way, until it is dropped.
#[must_use = "the room is given back when this is dropped"]
pub struct BufferRoom(OwnedSemaphorePermit);

impl BufferRoom {
    /// Gives back what is more than `bytes`.
    pub fn shrunk_to(mut self, bytes: usize) -> Self {
        let surplus = self.0.num_permits().saturating_sub(bytes);
        drop(self.0.split(surplus));
        self
    }
}

/// One store.
#[derive(Clone)]
pub struct Store {
    db: Arc<Db>,
    place: Place,
}

/// One page of keys.
pub struct Page {
    /// The keys, in the order of their bytes.
    pub keys: Vec<String>,
    /// The key to go on after, if there are more.
    pub next: Option<String>,
}

impl Store {
    /// A store for whoever needs no grant.
    pub fn new(db: Arc<Db>, place: Place) -> Self {
        Self { db, place }
    }

    /// Which one it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is stored under `key`.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, KeyValueError> {
        let (place, key) = self.with(key)?;
        Ok(self.db.read(move |connection| table::get(connection, &place, &key)).await?)
    }

    /// The version of `key`, if it is there.
    pub async fn version(&self, key: &str) -> Result<Option<Version>, KeyValueError> {
        let (place, key) = self.with(key)?;
        Ok(self.db.read(move |connection| table::version(connection, &place, &key)).await?)
    }

    /// At most `limit` keys that begin with `prefix` and come after `after`.
    pub async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page, KeyValueError> {
        let limit = limit.clamp(1, limits::KEY_VALUE_PAGE_MAX);
        let place = self.place.clone();
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        // One more than asked for tells whether there are more.
        let read = move |connection: &Connection| table::keys(connection, &place, &prefix, &after, limit + 1);
        let mut keys = self.db.read(read).await?;
        let has_more = keys.len() > limit;
        keys.truncate(limit);
        let next = if has_more { keys.last().cloned() } else { None };
        Ok(Page { keys, next })
    }

    /// Sets the value of `key` if `condition` is met.
    pub async fn put(
        &self,
        key: &str,
        value: impl AsRef<[u8]> + Send + 'static,
        condition: Condition,
    ) -> Result<Version, KeyValueError> {
        let (place, key) = self.with(key)?;
        check_value(value.as_ref())?;
        let put = move |transaction: &Transaction<'_>| {
            table::put(transaction, &place, &key, value.as_ref(), condition)
        };
        self.db.write_unless_refused(put).await
    }

    /// Removes `key` if `condition` is met. Says whether it was there.
    pub async fn delete(&self, key: &str, condition: Condition) -> Result<bool, KeyValueError> {
        let (place, key) = self.with(key)?;
        let delete = move |transaction: &Transaction<'_>| table::delete(transaction, &place, &key, condition);
        self.db.write_unless_refused(delete).await
    }

    /// Adds `by` to the number under `key` and answers the sum.
    pub async fn increment(&self, key: &str, by: i64) -> Result<i64, KeyValueError> {
        let (place, key) = self.with(key)?;
        let increment = move |transaction: &Transaction<'_>| table::increment(transaction, &place, &key, by);
        self.db.write_unless_refused(increment).await
    }

    /// What is stored under each of `keys`.
    pub async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, KeyValueError> {
        check_batch(keys.iter().map(String::as_str))?;
        let place = self.place.clone();
        let read = move |connection: &Connection| {
            let (mut entries, mut bytes) = (Vec::with_capacity(keys.len()), 0);
            for key in keys {
                let entry = table::get(connection, &place, &key)?;
                bytes += key.len() + entry.as_ref().map_or(0, |entry| entry.value.len());
                if bytes > limits::KEY_VALUE_BATCH_BYTES_MAX {
                    return Ok(Err(KeyValueError::BatchTooLarge));
                }
                entries.push(entry);
            }
            Ok(Ok(entries))
        };
        self.db.read(read).await?
    }

    /// Sets all, or none.
    pub async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        check_batch(entries.iter().map(|(key, _)| key.as_str()))?;
        entries.iter().try_for_each(|(_, value)| check_value(value))?;
        if bytes_of(&entries) > limits::KEY_VALUE_BATCH_BYTES_MAX {
            return Err(KeyValueError::BatchTooLarge);
        }
        let place = self.place.clone();
        let set = move |transaction: &Transaction<'_>| {
            entries.iter().try_for_each(|(key, value)| {
                table::put(transaction, &place, key, value, Condition::Any).map(drop)
            })
        };
        self.db.write_unless_refused(set).await
    }

    /// Removes all that are there.
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        check_batch(keys.iter().map(String::as_str))?;
        let place = self.place.clone();
        let delete = move |transaction: &Transaction<'_>| {
            keys.iter().try_for_each(|key| table::delete(transaction, &place, key, Condition::Any).map(drop))
        };
        self.db.write_unless_refused(delete).await
    }

    fn with(&self, key: &str) -> Result<(Place, String), KeyValueError> {
        check_key(key)?;
        Ok((self.place.clone(), key.to_owned()))
    }
}

/// Bytes of keys and values.
pub fn bytes_of(entries: &[(String, Vec<u8>)]) -> usize {
    entries.iter().map(|(key, value)| key.len() + value.len()).sum()
}

fn check_key(key: &str) -> Result<(), KeyValueError> {
    match key.len() {
        1..=limits::KEY_VALUE_KEY_BYTES_MAX => Ok(()),
        bytes => Err(KeyValueError::InvalidKey(bytes)),
    }
}

fn check_value(value: &[u8]) -> Result<(), KeyValueError> {
    if value.len() > limits::KEY_VALUE_VALUE_BYTES_MAX { Err(KeyValueError::ValueTooLarge) } else { Ok(()) }
}

fn check_batch<'a>(mut keys: impl ExactSizeIterator<Item = &'a str>) -> Result<(), KeyValueError> {
    if keys.len() > limits::KEY_VALUE_BATCH_MAX {
        return Err(KeyValueError::BatchTooLarge);
    }
    keys.try_for_each(check_key)
}

/// Removes what dropped stores hold, piece by piece. What a kill interrupts is done at the next start.
pub async fn sweep(db: &Db) -> Result<(), DbError> {
    while db.write(table::sweep).await? {}
    Ok(())
}
