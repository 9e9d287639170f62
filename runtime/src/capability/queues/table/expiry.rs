//! Makes dead letters of messages whose time to live is over, even if nobody reads them.

use rusqlite::{Connection, Transaction, params};

use super::count;

/// The reason that is stored with these dead letters.
pub const EXPIRED: &str = "its time to live was over";

/// When the next message that is not dead expires, in milliseconds since 1970.
pub fn next(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let query = "SELECT min(expires_ms) FROM queue_message WHERE expires_ms IS NOT NULL AND dead_ms IS NULL";
    connection.prepare_cached(query)?.query_row([], |row| row.get(0))
}

/// Makes dead letters of messages that have expired, at most `limit`. Returns how many.
pub fn expire(transaction: &Transaction<'_>, now_ms: i64, limit: usize) -> rusqlite::Result<usize> {
    let query = "SELECT number, queue FROM queue_message WHERE expires_ms <= ?1 AND dead_ms IS NULL
        ORDER BY expires_ms LIMIT ?2";
    let expired: Vec<(i64, i64)> = transaction
        .prepare_cached(query)?
        .query_map(params![now_ms, limit as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (number, queue) in &expired {
        let statement =
            "UPDATE queue_message SET position = NULL, due_ms = NULL, dead_ms = ?2, last_error = ?3
            WHERE number = ?1";
        transaction.prepare_cached(statement)?.execute(params![number, now_ms, EXPIRED])?;
        count(transaction, *queue, -1, 1, 0)?;
    }
    Ok(expired.len())
}
