//! Queues and messages in the database: each function is one read or one atomic change.
//!
//! A message is in one of three states, which its row shows: it is ready and has a `position`, it waits until `due_ms`,
//! or it is dead since `dead_ms`. A message of a session keeps its position while it waits: it has both a position and
//! a `due_ms` in the future. The one writer gives positions in the order of its commits, so a reader that has
//! read up to a position misses nothing that comes later.

pub mod expiry;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::capability::queues::error::QueueError;
use crate::capability::queues::message::{Message, NewMessage};
use crate::capability::stores;
use crate::limits;
use crate::manifest::grants::{Kind, Place};
use crate::names::AppName;

/// What a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages that are ready, wait or are being delivered.
    pub messages: i64,
    /// Dead letters.
    pub dead: i64,
    /// Bytes of all of them.
    pub bytes: i64,
}

/// The result of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The name of the message.
    pub id: String,
    /// Whether a message of that name was sent before, so that this one was not stored.
    pub is_duplicate: bool,
}

/// The state of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is to be delivered, or is being delivered.
    Ready,
    /// It waits until it is due.
    Waiting,
    /// It is a dead letter.
    Dead,
}

impl State {
    /// The column that is set in this state. It finds and orders the messages in this state.
    fn column(self) -> &'static str {
        match self {
            Self::Ready => "position",
            Self::Waiting => "due_ms",
            Self::Dead => "dead_ms",
        }
    }

    /// The SQL condition for messages in this state.
    fn condition(self) -> &'static str {
        match self {
            Self::Ready => "position IS NOT NULL",
            Self::Waiting => "due_ms IS NOT NULL AND position IS NULL",
            Self::Dead => "dead_ms IS NOT NULL",
        }
    }
}

/// Where a page begins: after the message with this value of its state's column and this number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct After {
    /// Position, or milliseconds since 1970.
    pub order: i64,
    /// Number of the message.
    pub number: i64,
}

const COLUMNS: &str = "number, coalesce(position, 0), id, session, content_type, body, sent_ms, expires_ms, failures, first_ms, last_error, coalesce(due_ms, 0)";

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        number: row.get(0)?,
        position: row.get(1)?,
        id: row.get(2)?,
        session: row.get(3)?,
        content_type: row.get(4)?,
        body: row.get::<_, Vec<u8>>(5)?.into(),
        sent_ms: row.get(6)?,
        expires_ms: row.get(7)?,
        failures: row.get(8)?,
        first_ms: row.get(9)?,
        last_error: row.get(10)?,
        due_ms: row.get(11)?,
    })
}

/// Bytes that a message counts: its texts and body, its row and its index entries.
fn size(message: &NewMessage) -> i64 {
    let texts = message.id.as_ref().map_or(0, String::len)
        + message.session.as_ref().map_or(0, String::len)
        + message.content_type.len();
    (texts + message.body.len()) as i64 + limits::QUEUE_MESSAGE_OVERHEAD_BYTES
}

/// The row id of the queue, if it exists.
pub fn queue(connection: &Connection, place: &Place) -> rusqlite::Result<Option<i64>> {
    stores::row(connection, Kind::Queue, place)
}

/// The next number, greater than every one before: numbers are in the order of commits.
fn next_number(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    // Two statements, because RETURNING makes a table of its own for its rows and takes ten times as long.
    transaction.prepare_cached("UPDATE queue_sequence SET last = last + 1")?.execute([])?;
    transaction.prepare_cached("SELECT last FROM queue_sequence")?.query_row([], |row| row.get(0))
}

fn count(
    transaction: &Transaction<'_>,
    queue: i64,
    messages: i64,
    dead: i64,
    bytes: i64,
) -> rusqlite::Result<()> {
    let statement =
        "UPDATE queue SET messages = messages + ?2, dead = dead + ?3, bytes = bytes + ?4 WHERE id = ?1";
    transaction.prepare_cached(statement)?.execute(params![queue, messages, dead, bytes])?;
    Ok(())
}

fn usage_of_app(transaction: &Transaction<'_>, app: &AppName) -> rusqlite::Result<(i64, i64)> {
    let query = "SELECT coalesce(sum(messages + dead), 0), coalesce(sum(bytes), 0) FROM queue WHERE app = ?1";
    transaction.prepare_cached(query)?.query_row([app.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Stores a message. Fails if the queues of the app would exceed a limit. If a message of the same name was sent within
/// the window, this one is not stored.
pub fn send(
    transaction: &Transaction<'_>,
    place: &Place,
    new: &NewMessage,
    now_ms: i64,
) -> Result<Sent, QueueError> {
    let queue = match queue(transaction, place)? {
        Some(queue) => queue,
        None => stores::make(transaction, Kind::Queue, place)?,
    };
    if let Some(id) = &new.id
        && !remember(transaction, queue, id, now_ms)?
    {
        return Ok(Sent { id: id.clone(), is_duplicate: true });
    }
    let bytes = size(new);
    let (messages, held_bytes) = usage_of_app(transaction, &place.app)?;
    if messages >= limits::QUEUE_MESSAGES_PER_APP_MAX || held_bytes + bytes > limits::QUEUE_BYTES_PER_APP_MAX
    {
        return Err(QueueError::Full(place.app.clone()));
    }
    let number = next_number(transaction)?;
    let id = new.id.clone().unwrap_or_else(|| format!("{number:016x}"));
    let (position, due_ms) = match new.delay_ms {
        0 => (Some(number), None),
        delay_ms => (None, Some(now_ms.saturating_add(delay_ms))),
    };
    let expires_ms =
        new.time_to_live_ms.map(|life_ms| now_ms.saturating_add(new.delay_ms).saturating_add(life_ms));
    let statement = "INSERT INTO queue_message
        (number, queue, position, due_ms, id, session, content_type, body, bytes, sent_ms, expires_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    transaction.prepare_cached(statement)?.execute(params![
        number,
        queue,
        position,
        due_ms,
        id,
        new.session,
        new.content_type,
        new.body,
        bytes,
        now_ms,
        expires_ms
    ])?;
    count(transaction, queue, 1, 0, bytes)?;
    Ok(Sent { id, is_duplicate: false })
}

/// Remembers the name of a message for a while; false if it is remembered already. Forgets some names whose time is
/// over.
fn remember(transaction: &Transaction<'_>, queue: i64, id: &str, now_ms: i64) -> rusqlite::Result<bool> {
    let statement = "DELETE FROM queue_seen WHERE (queue, id) IN
        (SELECT queue, id FROM queue_seen WHERE until_ms <= ?1 ORDER BY until_ms LIMIT 8)";
    transaction.prepare_cached(statement)?.execute([now_ms])?;
    let until_ms = now_ms + limits::QUEUE_DUPLICATES_WINDOW.as_millis() as i64;
    // A name whose time is over may still be there.
    let statement = "INSERT INTO queue_seen (queue, id, until_ms) VALUES (?1, ?2, ?3)
        ON CONFLICT DO UPDATE SET until_ms = ?3 WHERE until_ms <= ?4";
    Ok(transaction.prepare_cached(statement)?.execute(params![queue, id, until_ms, now_ms])? == 1)
}

/// Ready messages after position `after`, in order, at most `limit`.
pub fn ready(
    connection: &Connection,
    queue: i64,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Message>> {
    let query = format!(
        "SELECT {COLUMNS} FROM queue_message WHERE queue = ?1 AND position > ?2 ORDER BY position LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_map(params![queue, after, limit as i64], message)?.collect()
}

/// The first ready message of `session` after position `after`.
pub fn next_of_session(
    connection: &Connection,
    queue: i64,
    session: &str,
    after: i64,
) -> rusqlite::Result<Option<Message>> {
    let query = format!(
        "SELECT {COLUMNS} FROM queue_message WHERE queue = ?1 AND session = ?2 AND position > ?3
         ORDER BY position LIMIT 1"
    );
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_row(params![queue, session, after], message).optional()
}

/// Makes messages ready that are due, at most `limit`. Returns how many.
pub fn promote(
    transaction: &Transaction<'_>,
    queue: i64,
    now_ms: i64,
    limit: usize,
) -> rusqlite::Result<usize> {
    let query = "SELECT number FROM queue_message WHERE queue = ?1 AND due_ms <= ?2 AND position IS NULL
        ORDER BY due_ms, number LIMIT ?3";
    let due: Vec<i64> = transaction
        .prepare_cached(query)?
        .query_map(params![queue, now_ms, limit as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for number in &due {
        let position = next_number(transaction)?;
        let statement = "UPDATE queue_message SET position = ?2, due_ms = NULL WHERE number = ?1";
        transaction.prepare_cached(statement)?.execute([*number, position])?;
    }
    Ok(due.len())
}

/// When the next waiting message is due, in milliseconds since 1970.
pub fn next_due(connection: &Connection, queue: i64) -> rusqlite::Result<Option<i64>> {
    let query =
        "SELECT min(due_ms) FROM queue_message WHERE queue = ?1 AND due_ms IS NOT NULL AND position IS NULL";
    connection.prepare_cached(query)?.query_row([queue], |row| row.get(0))
}

/// Queue and bytes of a message that exists and is not dead.
fn live(transaction: &Transaction<'_>, number: i64) -> rusqlite::Result<Option<(i64, i64)>> {
    let query = "SELECT queue, bytes FROM queue_message WHERE number = ?1 AND dead_ms IS NULL";
    let mut statement = transaction.prepare_cached(query)?;
    statement.query_row([number], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Removes a message that was delivered. Returns whether it existed. If its time to live ended during the delivery, it
/// was delivered in time and is no dead letter.
pub fn acknowledge(transaction: &Transaction<'_>, number: i64) -> rusqlite::Result<bool> {
    let query = "SELECT queue, bytes, dead_ms IS NOT NULL FROM queue_message
        WHERE number = ?1 AND (dead_ms IS NULL OR dead_ms >= expires_ms)";
    let found = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?));
    let mut statement = transaction.prepare_cached(query)?;
    let found = statement.query_row([number], found).optional()?;
    let Some((queue, bytes, dead)): Option<(i64, i64, i64)> = found else { return Ok(false) };
    transaction.prepare_cached("DELETE FROM queue_message WHERE number = ?1")?.execute([number])?;
    count(transaction, queue, dead - 1, -dead, -bytes)?;
    Ok(true)
}

/// A delivery that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Number of the message.
    pub number: i64,
    /// When its first delivery began, in milliseconds since 1970.
    pub first_ms: i64,
    /// Why it failed.
    pub error: String,
    /// What happens to the message.
    pub next: Next,
}

/// What happens to a message whose delivery failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It waits until then, in milliseconds since 1970, and then comes after the other ready messages.
    Waits(i64),
    /// It waits until then and keeps its position.
    WaitsInPlace(i64),
    /// It is a dead letter.
    Dead,
}

/// Stores that a delivery failed. Returns whether the message existed.
pub fn fail(transaction: &Transaction<'_>, failure: &Failure, now_ms: i64) -> rusqlite::Result<bool> {
    let Some((queue, _)) = live(transaction, failure.number)? else { return Ok(false) };
    let (is_ready, due_ms, dead_ms) = match failure.next {
        Next::Waits(due_ms) => (false, Some(due_ms), None),
        Next::WaitsInPlace(due_ms) => (true, Some(due_ms), None),
        Next::Dead => (false, None, Some(now_ms)),
    };
    let statement = "UPDATE queue_message SET position = iif(?2, position, NULL), due_ms = ?3, dead_ms = ?4,
        failures = failures + 1, first_ms = coalesce(first_ms, ?5), last_error = ?6 WHERE number = ?1";
    let values = params![failure.number, is_ready, due_ms, dead_ms, failure.first_ms, failure.error];
    transaction.prepare_cached(statement)?.execute(values)?;
    if dead_ms.is_some() {
        count(transaction, queue, -1, 1, 0)?;
    }
    Ok(true)
}

/// The queues that an app has, with what each holds.
pub fn queues(connection: &Connection, app: &AppName) -> rusqlite::Result<Vec<(String, Usage)>> {
    let query = "SELECT name, messages, dead, bytes FROM queue WHERE app = ?1 ORDER BY name";
    let mut statement = connection.prepare_cached(query)?;
    let usage = |row: &Row<'_>| {
        Ok((row.get(0)?, Usage { messages: row.get(1)?, dead: row.get(2)?, bytes: row.get(3)? }))
    };
    statement.query_map([app.as_str()], usage)?.collect()
}

/// A page of messages in one state after `after`, in order, at most `limit`; each with the place where a page after it
/// begins.
pub fn page(
    connection: &Connection,
    place: &Place,
    state: State,
    after: After,
    limit: usize,
) -> rusqlite::Result<Vec<(Message, After)>> {
    let (order, condition) = (state.column(), state.condition());
    let query = format!(
        "SELECT {COLUMNS}, {order} FROM queue_message
         WHERE queue = (SELECT id FROM queue WHERE app = ?1 AND name = ?2) AND {condition}
         AND ({order}, number) > (?3, ?4) ORDER BY {order}, number LIMIT ?5"
    );
    let mut statement = connection.prepare_cached(&query)?;
    let values = params![place.app.as_str(), place.store.as_str(), after.order, after.number, limit as i64];
    let rows = statement.query_map(values, |row| {
        let message = message(row)?;
        let after = After { order: row.get(12)?, number: message.number };
        Ok((message, after))
    })?;
    rows.collect()
}

/// Makes dead letters ready again, as if they had never been delivered: the one with this id, or the oldest ones, at
/// most `limit`. Returns how many.
pub fn replay(
    transaction: &Transaction<'_>,
    place: &Place,
    id: Option<&str>,
    limit: usize,
) -> rusqlite::Result<usize> {
    let Some(queue) = queue(transaction, place)? else { return Ok(0) };
    let query = "SELECT number FROM queue_message
        WHERE queue = ?1 AND dead_ms IS NOT NULL AND (?2 IS NULL OR id = ?2) ORDER BY dead_ms, number LIMIT ?3";
    let dead: Vec<i64> = transaction
        .prepare_cached(query)?
        .query_map(params![queue, id, limit as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for number in &dead {
        let position = next_number(transaction)?;
        let statement =
            "UPDATE queue_message SET position = ?2, dead_ms = NULL, failures = 0, first_ms = NULL,
            expires_ms = NULL WHERE number = ?1";
        transaction.prepare_cached(statement)?.execute([*number, position])?;
    }
    count(transaction, queue, dead.len() as i64, -(dead.len() as i64), 0)?;
    Ok(dead.len())
}

/// Removes messages in one state, at most `limit`. Returns how many.
pub fn purge(
    transaction: &Transaction<'_>,
    place: &Place,
    state: State,
    limit: usize,
) -> rusqlite::Result<usize> {
    let Some(queue) = queue(transaction, place)? else { return Ok(0) };
    let (removed, bytes) = remove_some(transaction, queue, state, limit)?;
    match state {
        State::Ready | State::Waiting => count(transaction, queue, -(removed as i64), 0, -bytes)?,
        State::Dead => count(transaction, queue, 0, -(removed as i64), -bytes)?,
    }
    Ok(removed)
}

/// Removes messages without changing the counts. Returns how many, and their bytes.
fn remove_some(
    transaction: &Transaction<'_>,
    queue: i64,
    state: State,
    limit: usize,
) -> rusqlite::Result<(usize, i64)> {
    let condition = state.condition();
    let statement = format!(
        "DELETE FROM queue_message WHERE number IN
         (SELECT number FROM queue_message WHERE queue = ?1 AND {condition} LIMIT ?2) RETURNING bytes"
    );
    let mut statement = transaction.prepare_cached(&statement)?;
    let removed = statement.query_map([queue, limit as i64], |row| row.get::<_, i64>(0))?;
    let removed = removed.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok((removed.len(), removed.iter().sum()))
}

/// Removes all queues of an app. Nobody can use them from then on; [`sweep`] removes their messages.
pub fn drop_queues(transaction: &Transaction<'_>, app: &AppName) -> rusqlite::Result<usize> {
    transaction.execute("UPDATE queue SET app = NULL WHERE app = ?1", [app.as_str()])
}

/// Removes some messages of dropped queues, and dropped queues without messages. Returns whether there are more.
pub fn sweep(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let dropped = "SELECT id FROM queue WHERE app IS NULL ORDER BY id LIMIT 1";
    let Some(queue) = transaction.query_row(dropped, [], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(false);
    };
    let some = limits::QUEUE_SWEEP_MAX;
    for state in [State::Ready, State::Waiting, State::Dead] {
        if remove_some(transaction, queue, state, some)?.0 > 0 {
            return Ok(true);
        }
    }
    let statement = "DELETE FROM queue_seen WHERE queue = ?1 AND id IN (SELECT id FROM queue_seen WHERE queue = ?1 LIMIT ?2)";
    if transaction.execute(statement, [queue, some as i64])? == 0 {
        transaction.execute("DELETE FROM queue WHERE id = ?1", [queue])?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
