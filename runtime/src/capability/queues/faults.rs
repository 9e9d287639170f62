//! Tests queues on a disk that fails at each of its calls in turn. After a restart and after a power cut, what was
//! answered with success holds, and what was refused has left nothing half done.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::*;
use crate::capability::queues::table::Next;
use crate::manifest::grants::StoreName;
use crate::persist::faulty_disk::{Call, Fault, FaultyDisk, NAME};

/// Rounds of the work below: enough for SQLite to move its log into the database and begin a new one.
const ROUNDS: usize = 6;

/// What was answered with success, and what is uncertain because it was answered with an error.
#[derive(Default, Debug)]
struct Answered {
    sent: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
    dead: BTreeSet<String>,
    in_doubt: BTreeSet<String>,
}

fn place() -> Place {
    Place { app: AppName::new("shop").unwrap(), store: StoreName::new("work").unwrap() }
}

fn message(id: &str) -> NewMessage {
    NewMessage {
        id: Some(id.to_owned()),
        session: None,
        content_type: String::new(),
        body: vec![b'x'; 700],
        delay_ms: 0,
        time_to_live_ms: None,
    }
}

async fn open(folder: &Path, disk: Option<&'static std::ffi::CStr>) -> Result<Queue, DbError> {
    let db = Arc::new(Db::open_on(&folder.join("wfn.db"), disk)?);
    let app = |transaction: &Transaction<'_>| {
        transaction.execute("INSERT OR IGNORE INTO app VALUES ('shop', 1, 2, 0)", [])
    };
    db.write(app).await?;
    Ok(Queues::new(db).queue(place()))
}

/// Sends, acknowledges and fails messages, several at the same time, as far as the disk allows.
async fn work(queue: &Queue, answered: &mut Answered) {
    for round in 0..ROUNDS {
        let ids: Vec<String> = (0..4).map(|number| format!("{round}-{number}")).collect();
        let (a, b, c, d) = tokio::join!(
            queue.send(message(&ids[0])),
            queue.send(message(&ids[1])),
            queue.send(message(&ids[2])),
            queue.send(message(&ids[3])),
        );
        for (id, sent) in ids.iter().zip([a, b, c, d]) {
            let found = if sent.is_ok() { &mut answered.sent } else { &mut answered.in_doubt };
            found.insert(id.clone());
        }
        let Ok(ready) = queue.ready(0, 100).await else { continue };
        let failure = |message: &Message| Failure {
            number: message.number,
            first_ms: 1,
            error: "no".into(),
            next: Next::Dead,
        };
        let [first, second, ..] = &ready[..] else { continue };
        let (acknowledged, failed) =
            tokio::join!(queue.acknowledge([first.number].into()), queue.fail(failure(second)));
        let ends = [(first, acknowledged.map(|()| true), true), (second, failed, false)];
        for (message, end, is_acknowledged) in ends {
            let found = match (end, is_acknowledged) {
                (Ok(was_there), true) if was_there => &mut answered.acknowledged,
                (Ok(was_there), false) if was_there => &mut answered.dead,
                _ => &mut answered.in_doubt,
            };
            found.insert(message.id.clone());
        }
    }
}

/// Checks that what was answered holds in `folder`.
async fn check(folder: &Path, answered: &Answered, what: &str) {
    let queue = open(folder, None).await.unwrap();
    let ids =
        |page: Vec<Message>| -> BTreeSet<String> { page.into_iter().map(|message| message.id).collect() };
    let ready = ids(queue.page(State::Ready, After::default(), 100).await.unwrap().0);
    let dead = ids(queue.page(State::Dead, After::default(), 100).await.unwrap().0);
    for id in &answered.sent {
        let is_doubtful = answered.in_doubt.contains(id);
        let place = (ready.contains(id), dead.contains(id), answered.acknowledged.contains(id));
        assert!(
            is_doubtful
                || matches!(place, (true, false, false) | (false, true, false) | (false, false, true)),
            "{what}: {id} is {place:?}"
        );
        assert!(
            is_doubtful || dead.contains(id) == answered.dead.contains(id),
            "{what}: {id} is dead or not"
        );
    }
    for id in ready.union(&dead) {
        assert!(answered.sent.contains(id) || answered.in_doubt.contains(id), "{what}: {id} was never sent");
    }
    // The counts match the messages, and the database is not damaged.
    let connection = Connection::open(folder.join("wfn.db")).unwrap();
    let whole: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    let counted: (i64, i64) = connection
        .query_row("SELECT messages, dead FROM queue", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap_or_default();
    assert_eq!((whole.as_str(), counted), ("ok", (ready.len() as i64, dead.len() as i64)), "{what}");
}

#[tokio::test]
async fn each_call_to_the_disk_fails_once_and_nothing_that_was_answered_is_lost() {
    for (call, fault) in
        [(Call::Sync, Fault::Broken), (Call::Write, Fault::Broken), (Call::Write, Fault::Full)]
    {
        let mut failed = 0;
        loop {
            let (folder, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let disk = FaultyDisk::new(folder.path());
            let queue = open(folder.path(), Some(NAME)).await.unwrap();
            disk.fail(call, failed, fault);
            let mut answered = Answered::default();
            work(&queue, &mut answered).await;
            let (has_failed, what) = (disk.has_failed(), format!("{call:?} {failed} {fault:?}"));
            // The power fails here, before anything is repaired.
            disk.leave(left.path());
            drop(queue);
            check(left.path(), &answered, &format!("{what}, power cut")).await;
            check(folder.path(), &answered, &format!("{what}, restart")).await;
            assert!(
                answered.in_doubt.len() <= 6,
                "{what}: one failed call refused {}",
                answered.in_doubt.len()
            );
            if !has_failed {
                assert!(answered.in_doubt.is_empty(), "{what}: {:?}", answered.in_doubt);
                break;
            }
            failed += 1;
        }
        // Each round commits at least twice.
        assert!(failed >= 2 * ROUNDS, "only {failed} calls to fail: {call:?}");
    }
}
