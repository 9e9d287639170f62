//! Reads and writes apps and revisions in the database. Each function is one change, whole or not at all.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::app::revision::{Revision, Serving};
use crate::app::share::Percent;
use crate::limits;
use crate::names::{AppName, RevisionId};

/// An app as it is stored.
pub struct StoredApp {
    /// Its name.
    pub name: AppName,
    /// The number the next revision gets.
    pub next_revision: u32,
    /// The revisions that serve.
    pub serving: Serving,
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

/// Returns every app with the revisions that serve.
pub fn apps(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<StoredApp>> {
    let query = "SELECT next_revision, split.revision, percent, id, kind, module, manifest, revision.created_ms, language
                 FROM app JOIN revision ON revision.app = app.name AND revision.id = app.active
                 LEFT JOIN split ON split.app = app.name ORDER BY name";
    let mut statement = transaction.prepare_cached(query)?;
    let mut rows = statement.query([])?;
    let mut apps = Vec::new();
    while let Some(row) = rows.next()? {
        let active = revision(row, 3)?;
        let name = active.manifest.name.clone();
        let second = match row.get(1)? {
            Some(id) => revision_of(transaction, &name, RevisionId(id))?,
            None => None,
        };
        let percent = row.get::<_, Option<u32>>(2)?.and_then(Percent::new);
        let serving = Serving { active, split: second.zip(percent) };
        apps.push(StoredApp { name, next_revision: row.get(0)?, serving });
    }
    Ok(apps)
}

/// Stores which revisions serve, and `new`, if one of them is new. Removes the oldest revisions beyond
/// [`limits::REVISIONS_KEPT`].
pub fn serve(
    transaction: &Transaction<'_>,
    app: &AppName,
    new: Option<&Revision>,
    serving: &Serving,
) -> rusqlite::Result<()> {
    let name = app.as_str();
    if let Some(new) = new {
        insert(transaction, name, new)?;
    }
    transaction.execute("UPDATE app SET active = ?2 WHERE name = ?1", params![name, serving.active.id.0])?;
    transaction.execute("DELETE FROM split WHERE app = ?1", [name])?;
    if let Some((second, percent)) = &serving.split {
        let statement = "INSERT INTO split (app, revision, percent) VALUES (?1, ?2, ?3)";
        transaction.execute(statement, params![name, second.id.0, percent.get()])?;
    }
    transaction.execute(
        "DELETE FROM revision WHERE app = ?1
         AND id NOT IN (SELECT id FROM revision WHERE app = ?1 ORDER BY id DESC LIMIT ?2)
         AND id NOT IN (SELECT active FROM app WHERE name = ?1)
         AND id NOT IN (SELECT revision FROM split WHERE app = ?1)",
        params![name, limits::REVISIONS_KEPT as i64],
    )?;
    Ok(())
}

/// Stores a new revision, and the app if it is its first.
fn insert(transaction: &Transaction<'_>, name: &str, new: &Revision) -> rusqlite::Result<()> {
    let manifest = serde_json::to_string(&new.manifest)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    transaction.execute(
        "INSERT INTO app (name, active, next_revision, created_ms) VALUES (?1, ?2, ?2 + 1, ?3)
         ON CONFLICT (name) DO UPDATE SET next_revision = ?2 + 1",
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
    Ok(())
}

/// Returns one kept revision.
pub fn revision_of(
    transaction: &Transaction<'_>,
    app: &AppName,
    id: RevisionId,
) -> rusqlite::Result<Option<Revision>> {
    let query = format!("SELECT {REVISION_COLUMNS} FROM revision WHERE app = ?1 AND id = ?2");
    transaction.query_row(&query, params![app.as_str(), id.0], |row| revision(row, 0)).optional()
}

/// Returns the kept revisions of an app, the latest first.
pub fn revisions(transaction: &Transaction<'_>, app: &AppName) -> rusqlite::Result<Vec<Revision>> {
    let query = format!("SELECT {REVISION_COLUMNS} FROM revision WHERE app = ?1 ORDER BY id DESC");
    let mut statement = transaction.prepare_cached(&query)?;
    let rows = statement.query_map([app.as_str()], |row| revision(row, 0))?;
    rows.collect()
}

/// Returns every module that a revision runs, as hexadecimal text.
pub fn modules(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut statement = transaction.prepare_cached("SELECT DISTINCT module FROM revision")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Returns the names of all apps.
pub fn names(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut statement = transaction.prepare_cached("SELECT name FROM app")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Returns every bundle that a revision mounts, as hexadecimal text.
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
