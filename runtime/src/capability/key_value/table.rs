//! Stores and entries in the database: each function is one read or one atomic change.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::capability::key_value::error::KeyValueError;
use crate::capability::request::Condition;
pub use crate::capability::request::Version;
use crate::capability::stores;
use crate::limits;
use crate::manifest::grants::{Kind, Place};
use crate::names::AppName;

/// What is stored under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The version, given by the last write.
    pub version: Version,
    /// The value.
    pub value: Vec<u8>,
}

/// Keys and bytes that stores hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys.
    pub keys: i64,
    /// Bytes of keys and values.
    pub bytes: i64,
}

impl Usage {
    /// The usage of one entry.
    fn of(key: &str, value_bytes: usize) -> Self {
        Self { keys: 1, bytes: (key.len() + value_bytes) as i64 }
    }

    fn plus(self, other: Self) -> Self {
        Self { keys: self.keys + other.keys, bytes: self.bytes + other.bytes }
    }

    fn minus(self, other: Self) -> Self {
        Self { keys: self.keys - other.keys, bytes: self.bytes - other.bytes }
    }

    fn is_within_bounds(self) -> bool {
        self.keys <= limits::KEY_VALUE_KEYS_PER_APP_MAX as i64
            && self.bytes <= limits::KEY_VALUE_BYTES_PER_APP_MAX as i64
    }
}

/// What is stored under `key`.
pub fn get(connection: &Connection, place: &Place, key: &str) -> rusqlite::Result<Option<Entry>> {
    let query = "SELECT version, value FROM key_value_entry
                 WHERE store = (SELECT id FROM key_value_store WHERE app = ?1 AND name = ?2) AND key = ?3";
    let mut statement = connection.prepare_cached(query)?;
    let entry = |row: &rusqlite::Row<'_>| Ok(Entry { version: row.get(0)?, value: row.get(1)? });
    statement.query_row(params![place.app.as_str(), place.store.as_str(), key], entry).optional()
}

/// The version of `key`, if it exists.
pub fn version(connection: &Connection, place: &Place, key: &str) -> rusqlite::Result<Option<Version>> {
    let query = "SELECT version FROM key_value_entry
                 WHERE store = (SELECT id FROM key_value_store WHERE app = ?1 AND name = ?2) AND key = ?3";
    let mut statement = connection.prepare_cached(query)?;
    statement.query_row(params![place.app.as_str(), place.store.as_str(), key], |row| row.get(0)).optional()
}

/// Keys that begin with `prefix` and come after `after` in the order of their bytes, at most `count`.
pub fn keys(
    connection: &Connection,
    place: &Place,
    prefix: &str,
    after: &str,
    count: usize,
) -> rusqlite::Result<Vec<String>> {
    let query = "SELECT key FROM key_value_entry
                 WHERE store = (SELECT id FROM key_value_store WHERE app = ?1 AND name = ?2)
                 AND key >= ?3 AND key > ?4 ORDER BY key LIMIT ?5";
    let mut statement = connection.prepare_cached(query)?;
    let parameters = params![place.app.as_str(), place.store.as_str(), prefix, after, count as i64];
    let rows = statement.query_map(parameters, |row| row.get::<_, String>(0))?;
    // In this order the keys with the prefix are adjacent and come first.
    let is_listed = |key: &rusqlite::Result<String>| !key.as_ref().is_ok_and(|key| !key.starts_with(prefix));
    rows.take_while(is_listed).collect()
}

/// The stores that an app has, with what each holds.
pub fn stores(connection: &Connection, app: &AppName) -> rusqlite::Result<Vec<(String, Usage)>> {
    let query = "SELECT name, keys, bytes FROM key_value_store WHERE app = ?1 ORDER BY name";
    let mut statement = connection.prepare_cached(query)?;
    let rows = statement.query_map([app.as_str()], |row| {
        Ok((row.get(0)?, Usage { keys: row.get(1)?, bytes: row.get(2)? }))
    })?;
    rows.collect()
}

/// An entry before a change.
struct Found {
    version: Version,
    usage: Usage,
}

fn find(transaction: &Transaction<'_>, store: i64, key: &str) -> rusqlite::Result<Option<Found>> {
    let query = "SELECT version, length(value) FROM key_value_entry WHERE store = ?1 AND key = ?2";
    let found = |row: &rusqlite::Row<'_>| {
        let value_bytes: i64 = row.get(1)?;
        Ok(Found { version: row.get(0)?, usage: Usage::of(key, value_bytes as usize) })
    };
    transaction.prepare_cached(query)?.query_row(params![store, key], found).optional()
}

fn check(condition: Condition, version: Option<Version>) -> Result<(), KeyValueError> {
    if condition.is_met_by(version) { Ok(()) } else { Err(KeyValueError::Changed) }
}

fn usage_of_app(transaction: &Transaction<'_>, app: &AppName) -> rusqlite::Result<Usage> {
    let query = "SELECT coalesce(sum(keys), 0), coalesce(sum(bytes), 0) FROM key_value_store WHERE app = ?1";
    let usage = |row: &rusqlite::Row<'_>| Ok(Usage { keys: row.get(0)?, bytes: row.get(1)? });
    transaction.prepare_cached(query)?.query_row([app.as_str()], usage)
}

/// Adds `change`, which may be negative, to the counts of the store.
fn count(transaction: &Transaction<'_>, store: i64, change: Usage) -> rusqlite::Result<()> {
    if change == Usage::default() {
        return Ok(());
    }
    let statement = "UPDATE key_value_store SET keys = keys + ?2, bytes = bytes + ?3 WHERE id = ?1";
    transaction.prepare_cached(statement)?.execute(params![store, change.keys, change.bytes])?;
    Ok(())
}

/// Sets the value of `key` if `condition` is met. Fails if the stores of the app would exceed a limit.
pub fn put(
    transaction: &Transaction<'_>,
    place: &Place,
    key: &str,
    value: &[u8],
    condition: Condition,
) -> Result<Version, KeyValueError> {
    let known = stores::row(transaction, Kind::KeyValueStore, place)?;
    let found = known.map(|store| find(transaction, store, key)).transpose()?.flatten();
    check(condition, found.as_ref().map(|found| found.version))?;
    let store = known.map_or_else(|| stores::make(transaction, Kind::KeyValueStore, place), Ok)?;
    let change = Usage::of(key, value.len()).minus(found.map_or(Usage::default(), |found| found.usage));
    // A change that makes no store larger is allowed although the stores are full.
    let grows = change.keys > 0 || change.bytes > 0;
    if grows && !usage_of_app(transaction, &place.app)?.plus(change).is_within_bounds() {
        return Err(KeyValueError::StoreFull(place.app.clone()));
    }
    count(transaction, store, change)?;
    // Replacing gives the entry a new number, which is its version.
    let statement = "INSERT OR REPLACE INTO key_value_entry (store, key, value) VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(statement)?.execute(params![store, key, value])?;
    Ok(transaction.last_insert_rowid())
}

/// Removes `key` if `condition` is met. Returns whether it existed.
pub fn delete(
    transaction: &Transaction<'_>,
    place: &Place,
    key: &str,
    condition: Condition,
) -> Result<bool, KeyValueError> {
    let known = stores::row(transaction, Kind::KeyValueStore, place)?;
    let found = known.map(|store| find(transaction, store, key)).transpose()?.flatten();
    check(condition, found.as_ref().map(|found| found.version))?;
    let (Some(store), Some(found)) = (known, found) else { return Ok(false) };
    count(transaction, store, Usage::default().minus(found.usage))?;
    let statement = "DELETE FROM key_value_entry WHERE version = ?1";
    transaction.prepare_cached(statement)?.execute([found.version])?;
    Ok(true)
}

/// Adds `by` to the number under `key` (0 if it does not exist) and returns the sum.
pub fn increment(
    transaction: &Transaction<'_>,
    place: &Place,
    key: &str,
    by: i64,
) -> Result<i64, KeyValueError> {
    let number = match get(transaction, place, key)? {
        Some(entry) => std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse::<i64>().ok()),
        None => Some(0),
    };
    let sum = number.and_then(|number| number.checked_add(by)).ok_or(KeyValueError::NotANumber)?;
    put(transaction, place, key, sum.to_string().as_bytes(), Condition::Any)?;
    Ok(sum)
}

/// Removes all stores of an app and returns how many there were. Nobody can use them from then on; [`sweep`] removes
/// their entries.
pub fn drop_stores(transaction: &Transaction<'_>, app: &AppName) -> rusqlite::Result<usize> {
    transaction.execute("UPDATE key_value_store SET app = NULL WHERE app = ?1", [app.as_str()])
}

/// Removes some entries of dropped stores, and dropped stores without entries. Returns whether there are more.
pub fn sweep(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let dropped = "SELECT id FROM key_value_store WHERE app IS NULL ORDER BY id LIMIT 1";
    let Some(store) = transaction.query_row(dropped, [], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(false);
    };
    let some = limits::KEY_VALUE_SWEEP_MAX as i64;
    let removed = transaction.execute(
        "DELETE FROM key_value_entry WHERE version IN
         (SELECT version FROM key_value_entry WHERE store = ?1 LIMIT ?2)",
        [store, some],
    )?;
    if removed < some as usize {
        transaction.execute("DELETE FROM key_value_store WHERE id = ?1", [store])?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
