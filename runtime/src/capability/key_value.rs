//! Key-value stores: durable, in the host's database, for the apps whose manifests name them.
//!
//! A write is answered after it is on the disk. A read sees every write that was answered before it. Guests use stores
//! through `wasi:keyvalue` (`instance/guest/key_value.rs`) or HTTP ([`http`]), operators through the admin API.

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

/// The key-value stores that the guests of one revision may use, and the memory for bytes that they write and read.
pub struct KeyValue {
    grants: Grants,
    pending: Arc<Semaphore>,
}

impl KeyValue {
    /// Grants the `stores` that the manifest of `app` names.
    pub fn new(app: &AppName, stores: &[StoreLabel]) -> Self {
        let pending = Arc::new(Semaphore::new(limits::KEY_VALUE_PENDING_BYTES_MAX));
        Self { grants: Grants::new(Kind::KeyValueStore, app, stores), pending }
    }

    /// The store with the label `text` (`STORE` or `OWNER/STORE`), if the app may use it now.
    pub fn store(
        &self,
        neighbours: &dyn Neighbours,
        db: &Arc<Db>,
        text: &str,
    ) -> Result<Store, KeyValueError> {
        let place = stores::granted(&self.grants, neighbours, text)?;
        Ok(Store { db: db.clone(), place })
    }

    /// Reserves host memory for `bytes` that are to be written. An error if there is not enough.
    pub fn try_room(&self, bytes: usize) -> Result<BufferRoom, KeyValueError> {
        let bytes = u32::try_from(bytes).map_err(|_| KeyValueError::Busy)?;
        self.pending.clone().try_acquire_many_owned(bytes).map(BufferRoom).map_err(|_| KeyValueError::Busy)
    }

    /// Waits until host memory for `bytes` is reserved; for [`limits::KEY_VALUE_VALUE_BYTES_MAX`] if that is less.
    pub async fn room(&self, bytes: usize) -> Result<BufferRoom, KeyValueError> {
        let bytes = bytes.min(limits::KEY_VALUE_VALUE_BYTES_MAX) as u32;
        self.pending.clone().acquire_many_owned(bytes).await.map(BufferRoom).map_err(|_| KeyValueError::Busy)
    }
}

/// Host memory that is reserved for bytes to be written or read. Dropping this releases it.
#[must_use = "the room is given back when this is dropped"]
pub struct BufferRoom(OwnedSemaphorePermit);

impl BufferRoom {
    /// Releases what is reserved beyond `bytes`.
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
    /// The key after which the next page begins; `None` if this is the last page.
    pub next: Option<String>,
}

impl Store {
    /// A store, without a check of grants.
    pub fn new(db: Arc<Db>, place: Place) -> Self {
        Self { db, place }
    }

    /// The owner and the name of the store.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is stored under `key`.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, KeyValueError> {
        let (place, key) = self.with(key)?;
        Ok(self.db.read(move |connection| table::get(connection, &place, &key)).await?)
    }

    /// The version of `key`, if it exists.
    pub async fn version(&self, key: &str) -> Result<Option<Version>, KeyValueError> {
        let (place, key) = self.with(key)?;
        Ok(self.db.read(move |connection| table::version(connection, &place, &key)).await?)
    }

    /// At most `limit` keys that begin with `prefix` and come after `after`.
    pub async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page, KeyValueError> {
        let limit = limit.clamp(1, limits::KEY_VALUE_PAGE_MAX);
        let place = self.place.clone();
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        // One key more than asked for shows whether there are more.
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

    /// Removes `key` if `condition` is met. Returns whether it existed.
    pub async fn delete(&self, key: &str, condition: Condition) -> Result<bool, KeyValueError> {
        let (place, key) = self.with(key)?;
        let delete = move |transaction: &Transaction<'_>| table::delete(transaction, &place, &key, condition);
        self.db.write_unless_refused(delete).await
    }

    /// Adds `by` to the number under `key` and returns the sum.
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

    /// Sets all `entries`, or none.
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

    /// Removes those of `keys` that exist.
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

/// Bytes of all keys and values together.
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

/// Removes the entries of dropped stores, some in each transaction. If the host is killed meanwhile, the next start
/// goes on.
pub async fn sweep(db: &Db) -> Result<(), DbError> {
    while db.write(table::sweep).await? {}
    Ok(())
}
