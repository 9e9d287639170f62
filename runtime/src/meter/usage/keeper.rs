//! Moves usage from the pools into the book, and from there into the database.

use parking_lot::Mutex;

use crate::clock;
use crate::meter::usage::book::Book;
use crate::meter::usage::hours::Hour;
use crate::meter::usage::{Amounts, store};
use crate::names::AppName;
use crate::persist::db::Db;
use crate::persist::error::DbError;

/// Keeps the usage of all apps. If the host is killed, what was noted since the last store is lost.
#[derive(Default)]
pub struct UsageKeeper {
    book: Mutex<Book>,
}

impl UsageKeeper {
    /// Notes what a group has used until now.
    pub fn note(&self, app: &AppName, group: &str, used: Amounts) {
        self.book.lock().note(app, group, Hour::of(clock::now_ms()), used);
    }

    /// Stores what was noted, and deletes what is too old. What could not be stored is noted again. Must not be cancelled.
    pub async fn store(&self, db: &Db) -> Result<(), DbError> {
        let rows = self.book.lock().take();
        if rows.is_empty() {
            return Ok(());
        }
        let now = Hour::of(clock::now_ms());
        let stored = rows.clone();
        let written = db.write(move |transaction| {
            store::add(transaction, &stored)?;
            store::drop_old(transaction, now)
        });
        let written = written.await;
        if written.is_err() {
            self.book.lock().put_back(rows);
        }
        written
    }
}
