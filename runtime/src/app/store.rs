//! Apps and revisions in the database: each function is one change, whole or not at all.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::app::revision::Revision;
use crate::limits;
use crate::names::{AppName, RevisionId};

/// An app as it is stored.
pub struct StoredApp {
    /// Its name.
    pub name: AppName,
    /// The number the next revision gets.
    pub next_revision: u32,
    /// The revision that serves.
    pub active: Revision,
}

const REVISION_COLUMNS: &str = "id, kind, module, manifest, created_ms, language";

fn revision(row: &Row<'_>, first: usize) -> rusqlite::Result<Revision> {
    let text = |index: usize| row.get::<_, String>(first + index);
    let unreadable = |index: usize, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(first + index, rusqlite::types::Type::Text, error)
    };
    Ok(Revision {
        id: RevisionId(row.get(first)?),
        kind: serde_json::from_value(text(1)?.into()).map_err(|error| unreadable(1, error.into()))?,
        module: text(2)?.try_into().map_err(|error: crate::names::NameError| unreadable(2, error.into()))?,
        manifest: serde_json::from_str(&text(3)?).map_err(|error| unreadable(3, error.into()))?,
        created_ms: row.get::<_, i64>(first + 4)?.try_into().unwrap_or(0),
        language: serde_json::from_value(text(5)?.into()).map_err(|error| unreadable(5, error.into()))?,
    })
}

/// Every app with its active revision.
pub fn apps(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<StoredApp>> {
    let query = "SELECT name, next_revision, id, kind, module, manifest, revision.created_ms, language
                 FROM app JOIN revision ON revision.app = app.name AND revision.id = app.active ORDER BY name";
    let mut statement = transaction.prepare_cached(query)?;
    let rows = statement.query_map([], |row| {
        let active = revision(row, 2)?;
        Ok(StoredApp { name: active.manifest.name.clone(), next_revision: row.get(1)?, active })
    })?;
    rows.collect()
}

/// Stores a new revision and makes it the active one; the oldest beyond [`limits::REVISIONS_KEPT`] go.
pub fn activate_new(transaction: &Transaction<'_>, app: &AppName, new: &Revision) -> rusqlite::Result<()> {
    let name = app.as_str();
    let manifest = serde_json::to_string(&new.manifest)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    transaction.execute(
        "INSERT INTO app (name, active, next_revision, created_ms) VALUES (?1, ?2, ?2 + 1, ?3)
         ON CONFLICT (name) DO UPDATE SET active = ?2, next_revision = ?2 + 1",
        params![name, new.id.0, new.created_ms as i64],
    )?;
    transaction.execute(
        "INSERT INTO revision (app, id, kind, module, manifest, created_ms, language)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            name,
            new.id.0,
            new.kind.as_str(),
            new.module.to_string(),
            manifest,
            new.created_ms as i64,
            new.language.as_str()
        ],
    )?;
    transaction.execute(
        "DELETE FROM revision WHERE app = ?1 AND id <> ?2 AND id NOT IN
         (SELECT id FROM revision WHERE app = ?1 ORDER BY id DESC LIMIT ?3)",
        params![name, new.id.0, limits::REVISIONS_KEPT as i64],
    )?;
    Ok(())
}

/// Makes a kept revision the active one.
pub fn activate_kept(transaction: &Transaction<'_>, app: &AppName, id: RevisionId) -> rusqlite::Result<()> {
    transaction.execute("UPDATE app SET active = ?2 WHERE name = ?1", params![app.as_str(), id.0])?;
    Ok(())
}

/// One kept revision.
pub fn revision_of(
    transaction: &Transaction<'_>,
    app: &AppName,
    id: RevisionId,
) -> rusqlite::Result<Option<Revision>> {
    let query = format!("SELECT {REVISION_COLUMNS} FROM revision WHERE app = ?1 AND id = ?2");
    transaction.query_row(&query, params![app.as_str(), id.0], |row| revision(row, 0)).optional()
}

/// The kept revisions of an app, the latest first.
pub fn revisions(transaction: &Transaction<'_>, app: &AppName) -> rusqlite::Result<Vec<Revision>> {
    let query = format!("SELECT {REVISION_COLUMNS} FROM revision WHERE app = ?1 ORDER BY id DESC");
    let mut statement = transaction.prepare_cached(&query)?;
    let rows = statement.query_map([app.as_str()], |row| revision(row, 0))?;
    rows.collect()
}

/// Every module that some revision runs, as hexadecimal text.
pub fn modules(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut statement = transaction.prepare_cached("SELECT DISTINCT module FROM revision")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Every bundle that some revision mounts, as hexadecimal text.
pub fn bundles(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let query =
        "SELECT DISTINCT mount.value ->> 'bundle' FROM revision, json_each(manifest, '$.files') AS mount";
    let mut statement = transaction.prepare_cached(query)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Removes an app with all its revisions.
pub fn remove(transaction: &Transaction<'_>, app: &AppName) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM app WHERE name = ?1", [app.as_str()])?;
    Ok(())
}
