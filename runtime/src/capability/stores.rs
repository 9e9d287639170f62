//! What key-value stores, blob containers and queues have in common: who may use one, its row in the database, and why
//! access to it fails.

use http::StatusCode;
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::capability::neighbours::Neighbours;
use crate::manifest::grants::{GrantRefusal, Grants, Kind, Place, StoreLabel};
use crate::persist::error::DbError;
use crate::refusal::Refusal;

/// Why a call did not reach its store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The text is not the name of a store.
    #[error("{1}")]
    NoSuch(Kind, String),
    /// The app may not use it.
    #[error(transparent)]
    Refused(#[from] GrantRefusal),
    /// The app that owns it is not deployed (yet), so nobody could remove what would be written.
    #[error("app {} is not deployed: its {} {} cannot be made", .1.app, .0.noun(), .1.store)]
    NoOwner(Kind, Place),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<rusqlite::Error> for AccessError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

impl AccessError {
    /// Status and stable code over HTTP.
    pub fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuch(kind, _) => (StatusCode::NOT_FOUND, kind.no_such()),
            Self::Refused(_) => (StatusCode::FORBIDDEN, "access-denied"),
            Self::NoOwner(..) => (StatusCode::NOT_FOUND, "no-app"),
            Self::Db(error) => error.answer(),
        }
    }
}

/// Why a call to a store of one kind did nothing.
pub trait StoreError: std::error::Error {
    /// The kind of store.
    const KIND: Kind;

    /// Status and stable code over HTTP.
    fn answer(&self) -> (StatusCode, &'static str);

    /// Why the call did not reach the store, if it did not.
    fn access(&self) -> Option<&AccessError>;

    /// Whether only the host's operator can fix the cause.
    fn is_for_the_operator(&self) -> bool {
        matches!(self.access(), Some(AccessError::Db(_)))
    }
}

impl<E: StoreError> From<&E> for Refusal {
    fn from(error: &E) -> Self {
        let (status, code) = error.answer();
        Self::new(status, code, error.to_string())
    }
}

/// The store with the label `text`, if `grants` allow it now.
pub fn granted(grants: &Grants, neighbours: &dyn Neighbours, text: &str) -> Result<Place, AccessError> {
    let label = StoreLabel::parse(text).map_err(|why| AccessError::NoSuch(grants.kind(), why))?;
    Ok(grants.place(label, |owner| neighbours.share_of(owner))?)
}

fn table(kind: Kind) -> &'static str {
    match kind {
        Kind::KeyValueStore => "key_value_store",
        Kind::BlobContainer => "blob_container",
        Kind::Queue => "queue",
    }
}

/// The row id of a store, if it exists.
pub fn row(connection: &Connection, kind: Kind, place: &Place) -> rusqlite::Result<Option<i64>> {
    let query = format!("SELECT id FROM {} WHERE app = ?1 AND name = ?2", table(kind));
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_row([place.app.as_str(), place.store.as_str()], |row| row.get(0)).optional()
}

/// Makes a store and returns its row id. Fails if its app was removed: a call that outlives its app must not leave data
/// to the next app of that name.
pub fn make(transaction: &Transaction<'_>, kind: Kind, place: &Place) -> Result<i64, AccessError> {
    let statement =
        format!("INSERT INTO {} (app, name) SELECT name, ?2 FROM app WHERE name = ?1", table(kind));
    match transaction.execute(&statement, [place.app.as_str(), place.store.as_str()])? {
        0 => Err(AccessError::NoOwner(kind, place.clone())),
        _ => Ok(transaction.last_insert_rowid()),
    }
}
