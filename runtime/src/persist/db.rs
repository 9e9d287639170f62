//! Holds the database: SQLite with one writer thread with group commit, and a few connections that read.
//!
//! A write is answered after the commit that contains it has reached the disk. Changes that arrive during a commit share the next
//! one. A read begins after it was asked for, and so sees every change that was answered before.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, Transaction};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::{Semaphore, oneshot};

use crate::limits;
use crate::persist::error::DbError;
use crate::persist::schema;
use crate::persist::writer::{self, WriterJob};

/// The handle to the writer thread and the readers. Dropping the last one finishes the queued changes.
pub struct Db {
    changes: Option<Sender<WriterJob>>,
    writer: Option<JoinHandle<()>>,
    readers: Arc<Readers>,
}

impl Db {
    /// Opens or makes the database file and brings its tables to the present version.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        match Self::open_on(path, None) {
            // Existing data can be served from a full disk: this file layer keeps the index of the log in memory.
            Err(DbError::DiskFull) => Self::open_on(path, Some(ALONE)),
            opened => opened,
        }
    }

    /// As [`Self::open`], with SQLite's file layer of that name instead of the default one.
    pub fn open_on(path: &Path, disk: Option<&'static CStr>) -> Result<Self, DbError> {
        let mut connection = connect(path, OpenFlags::default(), disk)?;
        // More than FULL, because the change to the log mode below uses a journal. If that journal came back after a power cut,
        // it would undo what the log holds.
        connection.pragma_update(None, "synchronous", "EXTRA")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        // The data with which savepoints are undone.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        schema::migrate(&mut connection)?;
        let (changes, queue) = channel(limits::GROUP_COMMIT_MAX);
        let folder = path.parent().unwrap_or(path).to_owned();
        let writer = thread::Builder::new()
            .name("wfn-db".into())
            .spawn(move || writer::run(connection, &folder, queue))
            .map_err(|error| DbError::Sqlite(error.to_string()))?;
        let turns = Arc::new(Semaphore::new(limits::DB_READERS_MAX));
        let readers = Arc::new(Readers { path: path.to_owned(), disk, idle: Mutex::default(), turns });
        Ok(Self { changes: Some(changes), writer: Some(writer), readers })
    }

    /// Runs `change` and returns its result after the commit. An error of `change` undoes only that change; an error of the
    /// commit undoes the whole group.
    pub async fn write<T, F>(&self, change: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.write_unless_refused(|transaction| Ok(change(transaction)?)).await
    }

    /// As [`Self::write`], for a change that may be refused with an error of its own.
    pub async fn write_unless_refused<T, E, F>(&self, change: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run: writer::Run = Box::new(move |transaction| {
            let result = match transaction {
                Ok(transaction) => writer::within_savepoint(transaction, change),
                Err(error) => Err(error.into()),
            };
            Box::new(move |committed| {
                // The caller may have stopped waiting. The change is made all the same.
                let _ = answer.send(result.and_then(|value| committed.map(|()| value).map_err(E::from)));
            })
        });
        let changes = self.changes.as_ref().ok_or(DbError::Closed)?;
        // The queue is bounded. If it is full, callers wait for a place in order.
        changes.send(WriterJob { run, asker: Handle::current() }).await.map_err(|_| DbError::Closed)?;
        answered.await.map_err(|_| DbError::Closed)?
    }

    /// Runs `read` on a thread that may block, on a connection that cannot write.
    pub async fn read<T, F>(&self, read: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let readers = self.readers.clone();
        let turn = readers.turns.clone().acquire_owned().await.map_err(|_| DbError::Closed)?;
        let reading = tokio::task::spawn_blocking(move || {
            // Held to the end, even if nobody waits for the result any more.
            let _turn = turn;
            let connection = readers.take()?;
            let result = read(&connection)?;
            readers.idle.lock().push(connection);
            Ok(result)
        });
        reading.await.map_err(DbError::of_task)?
    }
}

/// SQLite's file layer for a database that no other process opens, until the host is started again.
const ALONE: &CStr = c"unix-excl";

fn connect(path: &Path, flags: OpenFlags, disk: Option<&'static CStr>) -> rusqlite::Result<Connection> {
    match disk {
        None => Connection::open_with_flags(path, flags),
        Some(disk) => Connection::open_with_flags_and_vfs(path, flags, disk),
    }
}

/// Pages that the writer keeps, in KiB: the inner pages of every table's indexes and the ends of its queues.
const CACHE_KIB: i64 = 16 * 1024;
/// Prepared statements that a connection keeps: more than there are.
const STATEMENTS_KEPT: usize = 64;

/// Connections that read. One that had an error is closed, and the next reader opens another.
struct Readers {
    path: PathBuf,
    disk: Option<&'static CStr>,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    fn take(&self) -> rusqlite::Result<Connection> {
        if let Some(connection) = self.idle.lock().pop() {
            return Ok(connection);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = connect(&self.path, flags, self.disk)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        Ok(connection)
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

    #[tokio::test]
    async fn a_read_sees_every_write_that_was_answered_and_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("wfn.db")).unwrap();
        for count in 1..50_u32 {
            db.write(move |t| t.execute("INSERT INTO app VALUES (?1, 1, 2, 0)", [count.to_string()]))
                .await
                .unwrap();
            let counted = |c: &Connection| c.query_row("SELECT count(*) FROM app", [], |row| row.get(0));
            let (one, other): (Result<u32, _>, Result<u32, _>) =
                tokio::join!(db.read(counted), db.read(counted));
            assert_eq!((one, other), (Ok(count), Ok(count)));
        }
        assert_eq!(db.read(|c| c.execute("DELETE FROM app", [])).await, Err(DbError::ReadOnly));
    }

    #[tokio::test]
    async fn a_full_disk_stores_nothing_of_what_failed_and_writing_goes_on_with_room() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("wfn.db")).unwrap();
        let room_for = |pages: i64| {
            move |t: &Transaction<'_>| {
                let count: i64 = t.pragma_query_value(None, "page_count", |row| row.get(0))?;
                t.pragma_update(None, "max_page_count", count + pages)
            }
        };
        let insert = |name: String| {
            move |t: &Transaction<'_>| t.execute("INSERT INTO app VALUES (?1, 1, 2, 0)", [name])
        };
        db.write(room_for(2)).await.unwrap();
        let large = "x".repeat(100_000);
        let (before, full, after) = tokio::join!(
            db.write(insert("before".into())),
            db.write(insert(large.clone())),
            db.write(insert("after".into()))
        );
        assert_eq!(full, Err(DbError::DiskFull));
        for (name, result) in [("before", &before), ("after", &after)] {
            let there = db.read(move |c| {
                c.query_row("SELECT count(*) FROM app WHERE name = ?1", [name], |row| row.get::<_, i64>(0))
            });
            assert_eq!(there.await, Ok(i64::from(result.is_ok())), "{name}: {result:?}");
        }
        db.write(room_for(100)).await.unwrap();
        assert_eq!(db.write(insert(large)).await, Ok(1));
    }

    #[tokio::test]
    async fn a_database_kept_for_one_process_is_read_and_written_as_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wfn.db");
        let index = folder.path().join("wfn.db-shm");
        for disk in [Some(ALONE), None, Some(ALONE)] {
            // What the round before may have left.
            assert!(std::fs::remove_file(&index).is_ok() || !index.exists());
            let db = Db::open_on(&path, disk).unwrap();
            let before = db.read(|c| c.query_row("SELECT count(*) FROM app", [], |row| row.get::<_, i64>(0)));
            let before = before.await.unwrap();
            let insert =
                move |t: &Transaction<'_>| t.execute("INSERT INTO app VALUES (?1, 1, 2, 0)", [before]);
            db.write(insert).await.unwrap();
            assert_eq!(index.exists(), disk.is_none());
            let after = db.read(|c| c.query_row("SELECT count(*) FROM app", [], |row| row.get::<_, i64>(0)));
            assert_eq!(after.await, Ok(before + 1));
        }
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
