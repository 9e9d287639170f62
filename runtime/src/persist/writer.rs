//! Runs the one thread that writes: changes that come together share a commit, and their callers are answered after it.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction};
use rustix::fs::{StatVfsMountFlags, statvfs};
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;

use crate::persist::error::DbError;
use crate::{event_loop, limits};

/// Runs the change inside a savepoint of the group's transaction, or gets the error if there is none. Returns how to tell the
/// caller of the commit.
pub type Run = Box<dyn FnOnce(Result<&Transaction<'_>, DbError>) -> Tell + Send>;
/// Tells the caller what became of its change.
pub type Tell = Box<dyn FnOnce(Result<(), DbError>) + Send>;

/// A change that a caller waits for.
pub struct WriterJob {
    /// The change.
    pub run: Run,
    /// The runtime on which the caller waits.
    pub asker: Handle,
}

/// Writes until all senders are gone. `folder` is the folder of the database.
pub fn run(mut connection: Connection, folder: &Path, mut queue: Receiver<WriterJob>) {
    // Event loops wait for its commits.
    event_loop::go_before_others();
    let mut before = Commit::default();
    while let Some(first) = queue.blocking_recv() {
        let mut answers = Answers::default();
        let mut commit = Commit::default();
        let committed = (|| {
            let transaction = match connection.transaction() {
                Ok(transaction) => transaction,
                Err(error) => {
                    let error = with_reason(error.into(), folder);
                    answers.add(first.asker, (first.run)(Err(error.clone())));
                    return Err(error);
                }
            };
            let gathering = Gathering::after(&before);
            let mut next = Some(first);
            while let Some(WriterJob { run, asker }) = next {
                answers.add(asker, run(Ok(&transaction)));
                // Later changes would be committed each by itself, and answered as failed.
                if transaction.is_autocommit() {
                    return Err(DbError::Undone);
                }
                commit.changes += 1;
                let is_full = commit.changes >= limits::GROUP_COMMIT_MAX;
                next = if is_full { None } else { gathering.next(commit.changes, &mut queue) };
            }
            let begun = Instant::now();
            transaction.commit().map_err(|error| with_reason(error.into(), folder))?;
            commit.took = begun.elapsed();
            Ok(())
        })();
        answers.tell(&committed);
        before = commit;
    }
}

/// Finds the reason of what SQLite calls a disk error: the disk may have been remounted read-only.
fn with_reason(error: DbError, folder: &Path) -> DbError {
    let is_read_only =
        || statvfs(folder).is_ok_and(|volume| volume.f_flag.contains(StatVfsMountFlags::RDONLY));
    match error {
        DbError::Sqlite(_) if is_read_only() => DbError::ReadOnly,
        error => error,
    }
}

/// Runs `change` so that an error or a panic undoes only this change.
pub fn within_savepoint<T, E: From<DbError>>(
    transaction: &Transaction<'_>,
    change: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let run = |statement: &str| {
        let ran = transaction.prepare_cached(statement).and_then(|mut prepared| prepared.execute([]));
        ran.map_err(DbError::from)
    };
    run("SAVEPOINT change")?;
    // A panic is a fault of the host. It must not affect other changes.
    let caught = panic::catch_unwind(AssertUnwindSafe(|| change(transaction)));
    let result = caught.unwrap_or_else(|panic| Err(DbError::of_panic(panic.as_ref()).into()));
    match result {
        Ok(_) => drop(run("RELEASE change")?),
        // After some errors, such as a full disk, SQLite itself has undone the whole transaction.
        Err(_) if transaction.is_autocommit() => {}
        Err(_) => {
            run("ROLLBACK TO change")?;
            run("RELEASE change")?;
        }
    }
    result
}

/// A finished commit.
#[derive(Default)]
struct Commit {
    changes: usize,
    took: Duration,
}

/// Waits a little for the callers that the last commit answered, because most of them ask again at once. Otherwise the first of
/// them would be a commit by itself, and all others would wait for that one and their own.
struct Gathering {
    expected: usize,
    until: Instant,
}

/// Time between two checks for new changes.
const GATHERING_STEP: Duration = Duration::from_micros(100);
/// The next commit waits for more changes for at most one part in this many of the time that a commit takes.
const GATHERING_PART: u32 = 4;

impl Gathering {
    fn after(before: &Commit) -> Self {
        Self { expected: before.changes, until: Instant::now() + before.took / GATHERING_PART }
    }

    /// Returns the change that follows the first `have`; `None` if it is time to commit them.
    fn next(&self, have: usize, queue: &mut Receiver<WriterJob>) -> Option<WriterJob> {
        loop {
            if let Ok(change) = queue.try_recv() {
                return Some(change);
            }
            if have >= self.expected || Instant::now() >= self.until {
                return None;
            }
            thread::sleep(GATHERING_STEP);
        }
    }
}

/// Those to tell of a commit, by the runtime on which they wait. Told from there, all callers on an event loop need one wake-up
/// together instead of a system call each.
#[derive(Default)]
struct Answers(Vec<(Handle, Vec<Tell>)>);

impl Answers {
    fn add(&mut self, asker: Handle, tell: Tell) {
        match self.0.iter_mut().find(|(known, _)| known.id() == asker.id()) {
            Some((_, tells)) => tells.push(tell),
            None => self.0.push((asker, vec![tell])),
        }
    }

    /// If a runtime has ended, nobody waits on it.
    fn tell(self, committed: &Result<(), DbError>) {
        for (runtime, tells) in self.0 {
            let committed = committed.clone();
            runtime.spawn(async move { tells.into_iter().for_each(|tell| tell(committed.clone())) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::db::Db;

    fn insert(name: &'static str) -> impl FnOnce(&Transaction<'_>) -> rusqlite::Result<usize> + Send {
        move |transaction| transaction.execute("INSERT INTO app VALUES (?1, 1, 2, 0)", [name])
    }

    #[tokio::test]
    async fn a_change_that_panics_fails_alone_and_writing_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("wfn.db")).unwrap();
        let panics = |transaction: &Transaction<'_>| -> rusqlite::Result<usize> {
            insert("half")(transaction)?;
            panic!("number {}", 7)
        };
        let (before, panicked, after) =
            tokio::join!(db.write(insert("before")), db.write(panics), db.write(insert("after")));
        assert_eq!((before, after), (Ok(1), Ok(1)));
        assert_eq!(panicked, Err(DbError::Panicked("number 7".into())));
        assert_eq!(db.write(insert("later")).await, Ok(1));
        let read = db.read(|_| -> rusqlite::Result<()> { panic!("reading") }).await;
        assert_eq!(read, Err(DbError::Panicked("reading".into())));
        let count = db.read(|c| c.query_row("SELECT count(*) FROM app", [], |row| row.get::<_, u32>(0)));
        assert_eq!(count.await, Ok(3), "nothing of the one that panicked");
    }

    #[tokio::test]
    async fn a_commit_that_cannot_begin_says_why_and_the_next_one_may() {
        let connection = Connection::open_in_memory().unwrap();
        // A transaction within a transaction cannot begin.
        connection.execute_batch("CREATE TABLE x (y); BEGIN").unwrap();
        let (changes, queue) = tokio::sync::mpsc::channel(2);
        let mut answers = Vec::new();
        for _ in 0..2 {
            let (answer, answered) = tokio::sync::oneshot::channel();
            let run: Run = Box::new(|transaction| {
                let result = transaction.and_then(|transaction| {
                    within_savepoint(transaction, |t| Ok(t.execute("INSERT INTO x VALUES (1)", [])?))
                });
                Box::new(move |committed| answer.send(result.and(committed)).unwrap())
            });
            assert!(changes.send(WriterJob { run, asker: Handle::current() }).await.is_ok());
            answers.push(answered);
        }
        drop(changes);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        thread::spawn(move || run(connection, &path, queue));
        for answered in answers {
            let error = answered.await.unwrap().unwrap_err();
            assert!(error.to_string().contains("within a transaction"), "{error}");
        }
    }
}
