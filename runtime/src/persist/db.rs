//! The database: SQLite behind one writer thread with group commit.
//!
//! Whoever writes is answered after the commit that holds its change has reached the disk; changes that
//! arrive while a commit is under way share the next one.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

use crate::limits;
use crate::persist::schema;

/// A failed read or write. Nothing of a failed write is stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// SQLite's own words.
    #[error("database: {0}")]
    Sqlite(String),
    /// The writer thread is gone; the host is ending.
    #[error("database: closed")]
    Closed,
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.to_string())
    }
}

/// A change: runs inside a savepoint of the group's transaction.
type Change = Box<dyn FnOnce(&Transaction<'_>) -> Box<dyn FnOnce(Result<(), DbError>) + Send> + Send>;

/// The handle to the writer thread. Dropping the last one finishes what was queued.
pub struct Db {
    changes: Option<SyncSender<Change>>,
    writer: Option<JoinHandle<()>>,
}

impl Db {
    /// Opens or makes the database file and brings its tables to the present version.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        schema::migrate(&mut connection)?;
        let (changes, queue) = sync_channel(limits::GROUP_COMMIT_MAX);
        let writer = thread::Builder::new()
            .name("wfn-db".into())
            .spawn(move || write(connection, &queue))
            .map_err(|error| DbError::Sqlite(error.to_string()))?;
        Ok(Self { changes: Some(changes), writer: Some(writer) })
    }

    /// Runs `change` and answers with its result after the commit. An error of `change` undoes it alone,
    /// an error of the commit undoes the group.
    pub async fn write<T, F>(&self, change: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let queued: Change = Box::new(move |transaction| {
            let result = within_savepoint(transaction, change);
            Box::new(move |committed| {
                // The asker may have given up waiting; the change stands all the same.
                let _ = answer.send(committed.and(result));
            })
        });
        let changes = self.changes.clone().ok_or(DbError::Closed)?;
        // The queue is bounded: where it is full, waiting happens off the event loops.
        tokio::task::spawn_blocking(move || changes.send(queued))
            .await
            .map_err(|_| DbError::Closed)?
            .map_err(|_| DbError::Closed)?;
        answered.await.map_err(|_| DbError::Closed)?
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.changes = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been reported by its own thread.
            let _ = writer.join();
        }
    }
}

fn within_savepoint<T>(
    transaction: &Transaction<'_>,
    change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, DbError> {
    transaction.execute_batch("SAVEPOINT change")?;
    match change(transaction) {
        Ok(value) => {
            transaction.execute_batch("RELEASE change")?;
            Ok(value)
        }
        Err(error) => {
            transaction.execute_batch("ROLLBACK TO change; RELEASE change")?;
            Err(error.into())
        }
    }
}

fn write(mut connection: Connection, queue: &Receiver<Change>) {
    while let Ok(first) = queue.recv() {
        let group = std::iter::once(first).chain(queue.try_iter().take(limits::GROUP_COMMIT_MAX - 1));
        let mut answers = Vec::new();
        let committed = (|| {
            let transaction = connection.transaction()?;
            for change in group {
                answers.push(change(&transaction));
            }
            transaction.commit()
        })()
        .map_err(DbError::from);
        for answer in answers {
            answer(committed.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_change_undoes_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wfn.db");
        let db = Db::open(&path).unwrap();
        let insert = |name: &'static str| {
            move |t: &Transaction<'_>| t.execute("INSERT INTO app VALUES (?1, 1, 2, 0)", [name])
        };
        let (first, twice, other) =
            tokio::join!(db.write(insert("a")), db.write(insert("a")), db.write(insert("b")));
        assert!(first.is_ok() != twice.is_ok(), "one of the two must break the primary key");
        assert!(other.is_ok());
        drop(db);
        let db = Db::open(&path).unwrap();
        let count: u32 =
            db.write(|t| t.query_row("SELECT count(*) FROM app", [], |row| row.get(0))).await.unwrap();
        assert_eq!(count, 2);
    }

    #[test]
    fn a_database_of_a_newer_wfn_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wfn.db");
        drop(Db::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Db::open(&path).map(drop).unwrap_err();
        assert!(error.to_string().contains("newer wfn"), "{error}");
    }
}
