//! Holds the tables, and the changes that turn an older database into the present one.

use rusqlite::Connection;

/// What apps have used ([`crate::meter::usage`]). It has no foreign key to an app, because the bill stays when an app is removed.
/// The index finds the hours of all apps, to sum or delete them.
pub const USAGE: &str = "
    CREATE TABLE usage (
        app                          TEXT NOT NULL,
        grp                          TEXT NOT NULL,
        hour                         INTEGER NOT NULL,
        executions                   INTEGER NOT NULL,
        on_demand_mb_ms              INTEGER NOT NULL,
        always_ready_baseline_mb_ms  INTEGER NOT NULL,
        always_ready_execution_mb_ms INTEGER NOT NULL,
        PRIMARY KEY (app, grp, hour)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX usage_hour ON usage (hour);
";

/// One entry per version; entry `n` turns version `n` into `n + 1`. Never edit one that was released.
const MIGRATIONS: [&str; 13] = [
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
    // A store without an app was dropped; its entries are removed piece by piece. AUTOINCREMENT gives no number
    // twice, so that an entry's number is its version.
    "
    CREATE TABLE key_value_store (
        id    INTEGER PRIMARY KEY,
        app   TEXT,
        name  TEXT NOT NULL,
        keys  INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0,
        UNIQUE (app, name)
    ) STRICT;
    CREATE TABLE key_value_entry (
        version INTEGER PRIMARY KEY AUTOINCREMENT,
        store   INTEGER NOT NULL REFERENCES key_value_store(id),
        key     TEXT NOT NULL,
        value   BLOB NOT NULL,
        UNIQUE (store, key)
    ) STRICT;
",
    // A blob's bytes are an object FOLDER/VERSION elsewhere. A row without a container is one that nobody sees: an
    // upload under way, or bytes that are to be removed.
    "
    CREATE TABLE blob_container (
        id    INTEGER PRIMARY KEY,
        app   TEXT,
        name  TEXT NOT NULL,
        blobs INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0,
        UNIQUE (app, name)
    ) STRICT;
    CREATE TABLE blob (
        version      INTEGER PRIMARY KEY AUTOINCREMENT,
        folder       TEXT NOT NULL,
        container    INTEGER REFERENCES blob_container(id),
        name         TEXT,
        bytes        INTEGER NOT NULL DEFAULT 0,
        content_type TEXT NOT NULL DEFAULT '',
        modified_ms  INTEGER NOT NULL DEFAULT 0,
        is_removed   INTEGER NOT NULL DEFAULT 0,
        UNIQUE (container, name)
    ) STRICT;
    CREATE INDEX blob_unseen ON blob (version) WHERE container IS NULL;
    CREATE TABLE blob_location (
        location TEXT NOT NULL
    ) STRICT;
",
    // Of position, due_ms and dead_ms a message has one: it is ready, waits or is a dead letter. Numbers and positions
    // come from the sequence, in the order of commits. A queue without an app was dropped, and is swept.
    "
    CREATE TABLE queue (
        id       INTEGER PRIMARY KEY,
        app      TEXT,
        name     TEXT NOT NULL,
        messages INTEGER NOT NULL DEFAULT 0,
        dead     INTEGER NOT NULL DEFAULT 0,
        bytes    INTEGER NOT NULL DEFAULT 0,
        UNIQUE (app, name)
    ) STRICT;
    CREATE TABLE queue_message (
        number       INTEGER PRIMARY KEY,
        queue        INTEGER NOT NULL,
        position     INTEGER,
        due_ms       INTEGER,
        dead_ms      INTEGER,
        id           TEXT NOT NULL,
        session      TEXT,
        content_type TEXT NOT NULL,
        body         BLOB NOT NULL,
        bytes        INTEGER NOT NULL,
        sent_ms      INTEGER NOT NULL,
        expires_ms   INTEGER,
        failures     INTEGER NOT NULL DEFAULT 0,
        first_ms     INTEGER,
        last_error   TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX queue_message_ready ON queue_message (queue, position) WHERE position IS NOT NULL;
    CREATE INDEX queue_message_waiting ON queue_message (queue, due_ms) WHERE due_ms IS NOT NULL;
    CREATE INDEX queue_message_dead ON queue_message (queue, dead_ms) WHERE dead_ms IS NOT NULL;
    CREATE TABLE queue_seen (
        queue    INTEGER NOT NULL,
        id       TEXT NOT NULL,
        until_ms INTEGER NOT NULL,
        PRIMARY KEY (queue, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX queue_seen_until ON queue_seen (until_ms);
    CREATE TABLE queue_sequence (
        last INTEGER NOT NULL
    ) STRICT;
    INSERT INTO queue_sequence VALUES (0);
",
    // What was decided last about each timer function, and the concurrency that each scale group has learned.
    "
    CREATE TABLE timer (
        app         TEXT NOT NULL REFERENCES app(name) ON DELETE CASCADE,
        function    TEXT NOT NULL,
        schedule    TEXT NOT NULL,
        time_zone   TEXT NOT NULL,
        last_run_ms INTEGER,
        next_due_ms INTEGER,
        begun_ms    INTEGER,
        last_error  TEXT,
        PRIMARY KEY (app, function)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE learned_concurrency (
        app   TEXT NOT NULL REFERENCES app(name) ON DELETE CASCADE,
        grp   TEXT NOT NULL,
        value INTEGER NOT NULL,
        cores INTEGER NOT NULL,
        PRIMARY KEY (app, grp)
    ) STRICT, WITHOUT ROWID;
",
    // 9: usage.
    USAGE,
    // The second revision of an app that is split. It cannot be removed as long as it serves.
    "
    CREATE TABLE split (
        app      TEXT PRIMARY KEY REFERENCES app(name) ON DELETE CASCADE,
        revision INTEGER NOT NULL,
        percent  INTEGER NOT NULL,
        FOREIGN KEY (app, revision) REFERENCES revision(app, id)
    ) STRICT, WITHOUT ROWID;
",
    // Finds the message that a session goes on with.
    "
    CREATE INDEX queue_message_session ON queue_message (queue, session, position)
        WHERE session IS NOT NULL AND position IS NOT NULL;
",
    // A message of a session waits in its place, with a position. What is to expire is found whether anybody takes it or not.
    "
    DROP INDEX queue_message_waiting;
    CREATE INDEX queue_message_waiting ON queue_message (queue, due_ms) WHERE due_ms IS NOT NULL AND position IS NULL;
    CREATE INDEX queue_message_expiring ON queue_message (expires_ms) WHERE expires_ms IS NOT NULL AND dead_ms IS NULL;
",
    // Certificates from an authority ([`crate::acme`]). The row without a name is the account.
    "
    CREATE TABLE acme (
        directory TEXT NOT NULL,
        name      TEXT NOT NULL,
        sealed    BLOB NOT NULL,
        PRIMARY KEY (directory, name)
    ) STRICT, WITHOUT ROWID;
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
    if version == MIGRATIONS.len() {
        // Nothing is written: there may be no room for it.
        return Ok(());
    }
    for migration in &MIGRATIONS[version..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_from_before_splits_keeps_its_apps_and_can_have_one() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        MIGRATIONS[..9].iter().for_each(|migration| connection.execute_batch(migration).unwrap());
        connection.pragma_update(None, "user_version", 9).unwrap();
        connection
            .execute_batch(
                "INSERT INTO app VALUES ('shop', 1, 3, 0);
                 INSERT INTO revision VALUES ('shop', 1, 'p2', 'aa', '{}', 0, 'other'), ('shop', 2, 'p2', 'bb', '{}', 0, 'other');",
            )
            .unwrap();
        for _ in 0..2 {
            migrate(&mut connection).unwrap();
        }
        connection.execute_batch("INSERT INTO split VALUES ('shop', 2, 10)").unwrap();
        // What serves cannot go alone, and goes with its app.
        assert!(connection.execute("DELETE FROM revision WHERE id = 2", []).is_err());
        connection.execute("DELETE FROM app", []).unwrap();
        let left = "SELECT (SELECT count(*) FROM split) + (SELECT count(*) FROM revision)";
        assert_eq!(connection.query_row(left, [], |row| row.get::<_, i64>(0)), Ok(0));
    }
}
