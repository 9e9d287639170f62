//! Keeps the concurrency that groups have found, from one revision to the next and from one start of the host to the next.

use std::collections::HashMap;
use std::num::NonZeroU32;

use parking_lot::Mutex;
use rusqlite::{Connection, Row, Transaction, params};

use crate::names::AppName;
use crate::persist::db::Db;
use crate::persist::error::DbError;
use crate::pool::dynamic::Snapshot;

/// Names a scale group: its app, and its name within the app.
pub type GroupKey = (AppName, String);

/// What all groups have found.
#[derive(Default)]
pub struct LearnedConcurrency {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    snapshots: HashMap<GroupKey, Snapshot>,
    /// The groups whose value is not stored yet.
    changed: Vec<GroupKey>,
}

impl LearnedConcurrency {
    /// Reads the stored values.
    pub async fn restore(&self, db: &Db) -> Result<(), DbError> {
        let stored = db.read(stored).await?;
        self.state.lock().snapshots.extend(stored);
        Ok(())
    }

    /// Returns what `group` has found.
    pub fn of(&self, group: &GroupKey) -> Option<Snapshot> {
        self.state.lock().snapshots.get(group).copied()
    }

    /// Notes what `group` has found.
    pub fn note(&self, group: GroupKey, snapshot: Snapshot) {
        let mut state = self.state.lock();
        state.snapshots.insert(group.clone(), snapshot);
        state.changed.push(group);
    }

    /// Forgets the groups of an app that was removed, as the database does.
    pub fn forget(&self, app: &AppName) {
        let mut state = self.state.lock();
        state.snapshots.retain(|(known, _), _| known != app);
        state.changed.retain(|(known, _)| known != app);
    }

    /// Stores what has changed since the last call.
    pub async fn store(&self, db: &Db) -> Result<(), DbError> {
        let rows: Vec<(GroupKey, Snapshot)> = {
            let mut state = self.state.lock();
            let changed = std::mem::take(&mut state.changed);
            let found =
                changed.into_iter().filter_map(|key| Some((key.clone(), *state.snapshots.get(&key)?)));
            found.collect()
        };
        if rows.is_empty() {
            return Ok(());
        }
        let keys: Vec<GroupKey> = rows.iter().map(|(key, _)| key.clone()).collect();
        let stored = db.write(move |transaction| put(transaction, &rows)).await;
        if stored.is_err() {
            self.state.lock().changed.extend(keys);
        }
        stored
    }
}

fn stored(connection: &Connection) -> rusqlite::Result<Vec<(GroupKey, Snapshot)>> {
    let mut statement = connection.prepare("SELECT app, grp, value, cores FROM learned_concurrency")?;
    let row = |row: &Row<'_>| {
        let (app, group): (String, String) = (row.get(0)?, row.get(1)?);
        let (value, cores) = (row.get(2)?, row.get(3)?);
        let (app, cores) = (AppName::new(&app).ok(), NonZeroU32::new(cores));
        Ok(app.zip(cores).map(|(app, cores)| ((app, group), Snapshot { value, cores })))
    };
    // A value that cannot be read is learned again.
    statement.query_map([], row)?.filter_map(Result::transpose).collect()
}

/// Stores `rows`, except those of an app that was removed.
fn put(transaction: &Transaction<'_>, rows: &[(GroupKey, Snapshot)]) -> rusqlite::Result<()> {
    let statement = "INSERT OR REPLACE INTO learned_concurrency (app, grp, value, cores)
                     SELECT name, ?2, ?3, ?4 FROM app WHERE name = ?1";
    let mut statement = transaction.prepare_cached(statement)?;
    rows.iter().try_for_each(|((app, group), Snapshot { value, cores })| {
        statement.execute(params![app.as_str(), group, value, cores.get()]).map(drop)
    })
}
