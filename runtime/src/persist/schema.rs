//! The tables, and how an older database becomes the present one.

use rusqlite::Connection;

/// One entry per version; entry `n` turns version `n` into `n + 1`. Never edit one that was released.
const MIGRATIONS: [&str; 4] = [
    "
    CREATE TABLE app (
        name          TEXT PRIMARY KEY,
        active        INTEGER NOT NULL,
        next_revision INTEGER NOT NULL,
        created_ms    INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE revision (
        app        TEXT NOT NULL REFERENCES app(name) ON DELETE CASCADE,
        id         INTEGER NOT NULL,
        kind       TEXT NOT NULL,
        module     TEXT NOT NULL,
        manifest   TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        PRIMARY KEY (app, id)
    ) STRICT, WITHOUT ROWID;
",
    "ALTER TABLE revision ADD COLUMN language TEXT NOT NULL DEFAULT 'other';",
    "
    CREATE TABLE secret (
        app        TEXT NOT NULL,
        name       TEXT NOT NULL,
        sealed     BLOB NOT NULL,
        updated_ms INTEGER NOT NULL,
        PRIMARY KEY (app, name)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE signing_key (
        id         TEXT PRIMARY KEY,
        sealed     BLOB NOT NULL,
        created_ms INTEGER NOT NULL
    ) STRICT;
",
];

/// Brings the database to the present version, in one transaction.
pub fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let version = version as usize;
    if version > MIGRATIONS.len() {
        return Err(rusqlite::Error::InvalidParameterName(format!(
            "the database has format {version}, this wfn knows {}: it was written by a newer wfn",
            MIGRATIONS.len()
        )));
    }
    for migration in &MIGRATIONS[version..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    transaction.commit()
}
