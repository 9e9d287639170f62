//! Reads and writes sealed secrets in the database. Each function is one read or one change.

use rusqlite::{Connection, Transaction, params};

use crate::capability::secrets::SecretName;
use crate::names::AppName;

/// A stored secret.
pub struct StoredSecret {
    /// Its name.
    pub name: String,
    /// Its value as [`crate::capability::secrets::SecretKey::seal_secret`] made it.
    pub sealed: Vec<u8>,
    /// When it was set, in milliseconds since 1970.
    pub updated_ms: u64,
}

/// Returns the secrets of an app, by name.
pub fn secrets(connection: &Connection, app: &AppName) -> rusqlite::Result<Vec<StoredSecret>> {
    let query = "SELECT name, sealed, updated_ms FROM secret WHERE app = ?1 ORDER BY name";
    let mut statement = connection.prepare_cached(query)?;
    let rows = statement.query_map([app.as_str()], |row| {
        let updated_ms = row.get::<_, i64>(2)?.try_into().unwrap_or(0);
        Ok(StoredSecret { name: row.get(0)?, sealed: row.get(1)?, updated_ms })
    })?;
    rows.collect()
}

/// Sets a secret, or removes it where `sealed` is `None`.
pub fn change(
    transaction: &Transaction<'_>,
    app: &AppName,
    name: &SecretName,
    sealed: Option<&[u8]>,
    now_ms: u64,
) -> rusqlite::Result<()> {
    match sealed {
        Some(sealed) => transaction.execute(
            "INSERT INTO secret (app, name, sealed, updated_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (app, name) DO UPDATE SET sealed = ?3, updated_ms = ?4",
            params![app.as_str(), name.as_str(), sealed, now_ms as i64],
        )?,
        None => transaction.execute(
            "DELETE FROM secret WHERE app = ?1 AND name = ?2",
            params![app.as_str(), name.as_str()],
        )?,
    };
    Ok(())
}

/// Removes all secrets of an app. Returns their number.
pub fn remove_all(transaction: &Transaction<'_>, app: &AppName) -> rusqlite::Result<usize> {
    transaction.execute("DELETE FROM secret WHERE app = ?1", [app.as_str()])
}
