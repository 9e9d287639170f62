//! The one thread that writes: changes that have come together are one commit, and whoever asked is answered after it.

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

/// Runs inside a savepoint of the group's transaction, or hears why there is none, and gives back who is to be told of the
/// commit.
pub type Run = Box<dyn FnOnce(Result<&Transaction<'_>, DbError>) -> Tell + Send>;
/// Tells whoever asked for a change what became of it.
pub type Tell = Box<dyn FnOnce(Result<(), DbError>) + Send>;

/// A change that somebody waits for.
pub struct WriterJob {
    /// What it does.
    pub run: Run,
    /// Where the asker waits.
    pub asker: Handle,
}

/// Writes until all senders are gone. The database is in `folder`.
pub fn run(mut connection: Connection, folder: &Path, mut queue: Receiver<WriterJob>) {
    // Whoever serves waits for its commits.
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
                // What came after would be committed by itself, and answered as failed.
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

/// What SQLite calls an error of the disk has a reason where the disk was mounted anew, for reading only.
fn with_reason(error: DbError, folder: &Path) -> DbError {
    let is_read_only =
        || statvfs(folder).is_ok_and(|volume| volume.f_flag.contains(StatVfsMountFlags::RDONLY));
    match error {
        DbError::Sqlite(_) if is_read_only() => DbError::ReadOnly,
        error => error,
    }
}

/// Runs `change` so that an error or a panic of it undoes it alone.
pub fn within_savepoint<T, E: From<DbError>>(
    transaction: &Transaction<'_>,
    change: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let run = |statement: &str| {
        let ran = transaction.prepare_cached(statement).and_then(|mut prepared| prepared.execute([]));
        ran.map_err(DbError::from)
    };
    run("SAVEPOINT change")?;
    // A panic is a fault of the host, and costs no other change its answer.
    let caught = panic::catch_unwind(AssertUnwindSafe(|| change(transaction)));
    let result = caught.unwrap_or_else(|panic| Err(DbError::of_panic(panic.as_ref()).into()));
    match result {
        Ok(_) => drop(run("RELEASE change")?),
        // After some errors, such as a full disk, SQLite has undone the whole transaction by itself.
        Err(_) if transaction.is_autocommit() => {}
        Err(_) => {
            run("ROLLBACK TO change")?;
            run("RELEASE change")?;
        }
    }
    result
}

/// A commit that is over.
#[derive(Default)]
struct Commit {
    changes: usize,
    took: Duration,
}

/// Waits a little for those who were answered by the commit before: most of them ask again at once. Without it the first
/// of them would be a commit by itself, and all others would wait for that one and their own.
struct Gathering {
    expected: usize,
    until: Instant,
}

/// Between two looks for changes.
const GATHERING_STEP: Duration = Duration::from_micros(100);
/// The part of the time a commit takes that the next one waits for company.
const GATHERING_PART: u32 = 4;

impl Gathering {
    fn after(before: &Commit) -> Self {
        Self { expected: before.changes, until: Instant::now() + before.took / GATHERING_PART }
    }

    /// The change that follows the first `have`; `None` if it is time to commit them.
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

/// Who is to be told of a commit, by the runtime on which they wait: told from there, all of its askers take waking up one
/// event loop once, instead of each a system call.
#[derive(Default)]
struct Answers(Vec<(Handle, Vec<Tell>)>);

impl Answers {
    fn add(&mut self, asker: Handle, tell: Tell) {
        match self.0.iter_mut().find(|(known, _)| known.id() == asker.id()) {
            Some((_, tells)) => tells.push(tell),
            None => self.0.push((asker, vec![tell])),
        }
    }

    /// A runtime that has ended has nobody who waits.
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
