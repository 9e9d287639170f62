//! Keeps what must not be lost about certificates from an authority: the account's key, and for each name its certificate and the
//! order under way. All of it is sealed, because it has keys in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::capability::secrets::SecretKey;
use crate::persist::db::Db;
use crate::persist::error::DbError;

/// The row of the account. No host has this name.
const ACCOUNT: &str = "";

/// What is known of one name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Known {
    /// The certificate that is served.
    pub certificate: Option<Pem>,
    /// The order that has begun and not ended.
    pub order: Option<Order>,
    /// Attempts that have failed since the last success.
    pub failures: u32,
    /// When it is tried again, in seconds since 1970; 0 if nothing has failed.
    pub next_try: i64,
    /// Why the last attempt has failed.
    pub error: Option<String>,
}

/// A chain and its key, both as PEM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pem {
    /// The certificate first.
    pub chain: String,
    /// Its key.
    pub key: String,
}

/// An order at the authority.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// Where it is.
    pub url: String,
    /// The key of the certificate that it is for, as PEM.
    pub key: String,
}

/// The rows of one authority.
pub struct Store {
    db: Arc<Db>,
    key: Arc<SecretKey>,
    directory: String,
}

impl Store {
    /// Of the authority whose directory has this URL.
    pub fn new(db: Arc<Db>, key: Arc<SecretKey>, directory: String) -> Self {
        Self { db, key, directory }
    }

    /// Reads the account's key, if there is one, and what is known of each name. A row that this host's key does not open is as if
    /// it were not there.
    pub async fn read(&self) -> Result<(Option<Vec<u8>>, BTreeMap<String, Known>), DbError> {
        let directory = self.directory.clone();
        let rows = self.db.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT name, sealed FROM acme WHERE directory = ?1")?;
            let rows = statement.query_map([directory], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, Vec<u8>)>>>()
        });
        let (mut account, mut names) = (None, BTreeMap::new());
        for (name, sealed) in rows.await? {
            let Some(bytes) = self.key.unseal(&self.place(&name), &sealed) else { continue };
            if name == ACCOUNT {
                account = Some(bytes);
            } else if let Ok(known) = serde_json::from_slice(&bytes) {
                names.insert(name, known);
            }
        }
        Ok((account, names))
    }

    /// Keeps the account's key.
    pub async fn keep_account(&self, key: &[u8]) -> Result<(), DbError> {
        self.keep_bytes(ACCOUNT, key).await
    }

    /// Keeps what is known of `name`.
    pub async fn keep(&self, name: &str, known: &Known) -> Result<(), DbError> {
        // Of texts and numbers; that always has a form in JSON.
        self.keep_bytes(name, &serde_json::to_vec(known).unwrap_or_default()).await
    }

    /// Forgets `name`.
    pub async fn forget(&self, name: &str) -> Result<(), DbError> {
        let (directory, name) = (self.directory.clone(), name.to_owned());
        self.db
            .write(move |transaction| {
                transaction
                    .execute("DELETE FROM acme WHERE directory = ?1 AND name = ?2", params![directory, name])
            })
            .await
            .map(drop)
    }

    async fn keep_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), DbError> {
        let sealed = self.key.seal(&self.place(name), bytes);
        let sealed = sealed.map_err(|error| DbError::Sqlite(error.to_string()))?;
        let (directory, name) = (self.directory.clone(), name.to_owned());
        self.db
            .write(move |transaction| {
                transaction.execute(
                    "INSERT OR REPLACE INTO acme (directory, name, sealed) VALUES (?1, ?2, ?3)",
                    params![directory, name, sealed],
                )
            })
            .await
            .map(drop)
    }

    fn place(&self, name: &str) -> String {
        format!("acme\0{}\0{name}", self.directory)
    }
}
