//! Reads and writes timers in the database: the last decision about each.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::manifest::function::FunctionName;
use crate::manifest::schedule::TimerState;
use crate::names::AppName;

/// What is stored of a timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The schedule that the state belongs to.
    pub schedule: String,
    /// Its time zone.
    pub time_zone: String,
    /// The state of its schedule.
    pub state: TimerState,
    /// Why the last run failed; `None` if it did not.
    pub last_error: Option<String>,
}

const COLUMNS: &str = "function, schedule, time_zone, last_run_ms, next_due_ms, begun_ms, last_error";

fn stored(row: &Row<'_>) -> rusqlite::Result<(String, Stored)> {
    let state = TimerState { last_run_ms: row.get(3)?, next_due_ms: row.get(4)?, begun_ms: row.get(5)? };
    let stored = Stored { schedule: row.get(1)?, time_zone: row.get(2)?, state, last_error: row.get(6)? };
    Ok((row.get(0)?, stored))
}

/// One timer.
pub fn get(
    connection: &Connection,
    app: &AppName,
    function: &FunctionName,
) -> rusqlite::Result<Option<Stored>> {
    let query = format!("SELECT {COLUMNS} FROM timer WHERE app = ?1 AND function = ?2");
    let mut statement = connection.prepare_cached(&query)?;
    let found = statement.query_row([app.as_str(), function.as_str()], stored).optional()?;
    Ok(found.map(|(_, stored)| stored))
}

/// Those of an app, by the names of their functions.
pub fn all(connection: &Connection, app: &AppName) -> rusqlite::Result<Vec<(String, Stored)>> {
    let query = format!("SELECT {COLUMNS} FROM timer WHERE app = ?1 ORDER BY function");
    connection.prepare_cached(&query)?.query_map([app.as_str()], stored)?.collect()
}

/// Stores one, unless its app was removed.
pub fn put(
    transaction: &Transaction<'_>,
    app: &AppName,
    function: &FunctionName,
    stored: &Stored,
) -> rusqlite::Result<()> {
    let statement = "INSERT OR REPLACE INTO timer
        (app, function, schedule, time_zone, last_run_ms, next_due_ms, begun_ms, last_error)
        SELECT name, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM app WHERE name = ?1";
    let Stored { schedule, time_zone, state, last_error } = stored;
    let TimerState { last_run_ms, next_due_ms, begun_ms } = state;
    let (app, function) = (app.as_str(), function.as_str());
    let values = params![app, function, schedule, time_zone, last_run_ms, next_due_ms, begun_ms, last_error];
    transaction.prepare_cached(statement)?.execute(values).map(drop)
}

/// Removes one whose app has it no more.
pub fn forget(transaction: &Transaction<'_>, app: &AppName, function: &FunctionName) -> rusqlite::Result<()> {
    let statement = "DELETE FROM timer WHERE app = ?1 AND function = ?2";
    transaction.prepare_cached(statement)?.execute([app.as_str(), function.as_str()]).map(drop)
}
