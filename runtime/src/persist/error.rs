//! Errors of the database.

use std::any::Any;

use http::StatusCode;
use rusqlite::{ErrorCode, ffi};
use tokio::task::JoinError;

/// A failed read or write. Nothing of a failed write is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DbError {
    /// The message of SQLite.
    #[error("database: {0}")]
    Sqlite(String),
    /// The disk has no room for the change.
    #[error("the disk of the data directory is full: nothing was stored")]
    DiskFull,
    /// SQLite gave up the commit of this change because of another change.
    #[error("database: a change of the same commit failed, and nothing of it was stored: try again")]
    Undone,
    /// The data directory is mounted read-only, or belongs to another user.
    #[error(
        "the data directory cannot be written, nothing was stored: mount it for writing and see that it is this user's"
    )]
    ReadOnly,
    /// The change itself panicked: a bug of wfn. No other change is affected.
    #[error("database: the change failed in the host: {0}")]
    Panicked(String),
    /// The writer thread is gone; the host is ending.
    #[error("database: closed")]
    Closed,
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        let Some(found) = error.sqlite_error() else { return Self::Sqlite(error.to_string()) };
        match found.code {
            ErrorCode::DiskFull => Self::DiskFull,
            // The index of the log, beside the database, has no room to begin or to grow.
            _ if found.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Self::DiskFull,
            ErrorCode::ReadOnly => Self::ReadOnly,
            _ => Self::Sqlite(error.to_string()),
        }
    }
}

impl DbError {
    /// Returns the HTTP status and the stable code.
    pub fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk-full"),
            Self::ReadOnly => (StatusCode::INSUFFICIENT_STORAGE, "disk-read-only"),
            Self::Undone => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Self::Sqlite(_) | Self::Panicked(_) | Self::Closed => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        }
    }

    /// Returns the error of a task that did not finish.
    pub fn of_task(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => Self::of_panic(panic.as_ref()),
            Err(_) => Self::Closed,
        }
    }

    /// Returns the error of a change that panicked, with its message.
    pub fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panicked(words.unwrap_or_else(|| "a panic without words".into()))
    }
}
