//! Managed identity: short-lived signed tokens by which other services can check which app calls them.
//!
//! A guest asks for one at `http://wfn.internal/identity/token?audience=…`. It is a JWT (RFC 7519) signed with Ed25519
//! (RFC 8037). Its receiver finds the public keys at the functions listener, by OpenID Connect Discovery. Keys are
//! replaced every [`limits::SIGNING_KEY_LIFE`]. They stay published until no token that they signed is valid any more.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::capability::secrets::SecretKey;
use crate::invocation::InvocationId;
use crate::limits;
use crate::names::AppName;
use crate::persist::db::Db;
use crate::persist::error::DbError;

/// Path of the description of this issuer (OpenID Connect Discovery).
pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
/// Path of its public keys.
pub const KEYS_PATH: &str = "/.well-known/jwks.json";

/// The place that a sealed signing key is bound to.
fn place(id: &str) -> String {
    format!("signing-key\0{id}")
}

/// Signs tokens for the apps of a host.
pub struct Identity {
    issuer: String,
    /// The newest first.
    keys: ArcSwap<Vec<SigningKey>>,
}

/// A key as it is stored.
pub struct StoredKey {
    /// Its name in tokens (`kid`).
    pub id: String,
    /// Its PKCS #8 document, sealed.
    pub sealed: Vec<u8>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

struct SigningKey {
    id: String,
    pair: Ed25519KeyPair,
    created_ms: u64,
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The host's secret key does not decrypt a stored key.
    #[error("signing key {0} cannot be decrypted: secret.key is not the key it was encrypted with")]
    Unopened(String),
    /// A new key could not be made.
    #[error("make a signing key")]
    Make,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A token, as a guest gets it.
pub struct Token {
    /// The JWT.
    pub text: String,
    /// How long it is valid.
    pub expires_in: Duration,
    /// When it expires, in seconds since 1970.
    pub expires_on: u64,
}

impl Identity {
    /// An identity without keys; [`Self::refresh`] makes them.
    pub fn new(issuer: String) -> Self {
        Self { issuer, keys: ArcSwap::default() }
    }

    /// Reads the keys. Makes a new one if there is none, if the newest is too old, or if `replace` is set. Removes keys
    /// that are no longer needed.
    pub async fn refresh(
        &self,
        db: &Db,
        secret_key: &SecretKey,
        now_ms: u64,
        replace: bool,
    ) -> Result<(), IdentityError> {
        let mut keys = Vec::new();
        for stored in db.write(store::keys).await? {
            let document = secret_key.unseal(&place(&stored.id), &stored.sealed);
            let pair = document.and_then(|document| Ed25519KeyPair::from_pkcs8(&document).ok());
            let pair = pair.ok_or_else(|| IdentityError::Unopened(stored.id.clone()))?;
            keys.push(SigningKey { id: stored.id, pair, created_ms: stored.created_ms });
        }
        let age = |created_ms: u64| Duration::from_millis(now_ms.saturating_sub(created_ms));
        let is_fresh = keys.first().is_some_and(|key| age(key.created_ms) < limits::SIGNING_KEY_LIFE);
        if !is_fresh || replace {
            let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new());
            let document = document.map_err(|_| IdentityError::Make)?;
            let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| IdentityError::Make)?;
            let id = InvocationId::next().to_string();
            let sealed = secret_key.seal(&place(&id), document.as_ref()).map_err(|_| IdentityError::Make)?;
            let stored = StoredKey { id: id.clone(), sealed, created_ms: now_ms };
            db.write(move |transaction| store::add(transaction, &stored)).await?;
            keys.insert(0, SigningKey { id, pair, created_ms: now_ms });
        }
        // A key signs until the next one is made. Its last tokens are valid for a while after that.
        let signed_until = |index: usize, keys: &[SigningKey]| match index {
            0 => now_ms,
            _ => keys[index - 1].created_ms,
        };
        let kept: Vec<bool> = (0..keys.len())
            .map(|index| age(signed_until(index, &keys)) <= limits::SIGNING_KEY_PUBLISHED_AFTER)
            .collect();
        for (key, _) in keys.iter().zip(&kept).filter(|(_, kept)| !**kept) {
            let id = key.id.clone();
            db.write(move |transaction| store::remove(transaction, &id)).await?;
        }
        let mut kept = kept.into_iter();
        keys.retain(|_| kept.next().unwrap_or(true));
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// A token for `app` that is meant for `audience`; `None` if there is no key.
    pub fn token(&self, app: &AppName, audience: &str, now_ms: u64) -> Option<Token> {
        let keys = self.keys.load();
        let key = keys.first()?;
        let now = now_ms / 1_000;
        let expires_on = now + limits::TOKEN_LIFE.as_secs();
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": key.id });
        let claims = json!({
            "iss": self.issuer,
            "sub": format!("app:{app}"),
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": expires_on,
            "jti": InvocationId::next().to_string(),
        });
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = URL_SAFE_NO_PAD.encode(key.pair.sign(signed.as_bytes()));
        Some(Token { text: format!("{signed}.{signature}"), expires_in: limits::TOKEN_LIFE, expires_on })
    }

    /// The document that is published at `path` of the functions listener, if there is one.
    pub fn published(&self, path: &str) -> Option<Value> {
        match path {
            KEYS_PATH => Some(json!({ "keys": self.keys.load().iter().map(shown).collect::<Vec<_>>() })),
            CONFIGURATION_PATH => {
                let issuer = &self.issuer;
                Some(json!({
                    "issuer": issuer,
                    "jwks_uri": format!("{issuer}{KEYS_PATH}"),
                    "id_token_signing_alg_values_supported": ["EdDSA"],
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                }))
            }
            _ => None,
        }
    }
}

/// A public key as a JSON Web Key.
fn shown(key: &SigningKey) -> Value {
    let public = URL_SAFE_NO_PAD.encode(key.pair.public_key().as_ref());
    json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.id, "x": public })
}

/// Whether `audience` can be that of a token: a URL or a name, in printable ASCII without spaces.
pub fn is_audience(audience: &str) -> bool {
    (1..=limits::AUDIENCE_BYTES_MAX).contains(&audience.len())
        && audience.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Signing keys in the database.
mod store {
    use rusqlite::{Transaction, params};

    use crate::capability::identity::StoredKey;

    /// All keys, the newest first.
    pub(super) fn keys(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<StoredKey>> {
        let query = "SELECT id, sealed, created_ms FROM signing_key ORDER BY created_ms DESC, rowid DESC";
        let mut statement = transaction.prepare_cached(query)?;
        let rows = statement.query_map([], |row| {
            let created_ms = row.get::<_, i64>(2)?.try_into().unwrap_or(0);
            Ok(StoredKey { id: row.get(0)?, sealed: row.get(1)?, created_ms })
        })?;
        rows.collect()
    }

    pub(super) fn add(transaction: &Transaction<'_>, key: &StoredKey) -> rusqlite::Result<()> {
        let values = params![key.id, key.sealed, key.created_ms as i64];
        transaction
            .execute("INSERT INTO signing_key (id, sealed, created_ms) VALUES (?1, ?2, ?3)", values)
            .map(drop)
    }

    pub(super) fn remove(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
        transaction.execute("DELETE FROM signing_key WHERE id = ?1", [id]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3600 * 1000;

    fn published(identity: &Identity) -> Vec<String> {
        let keys = identity.published(KEYS_PATH).unwrap();
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn keys_are_replaced_in_time_and_stay_published_as_long_as_their_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("wfn.db")).unwrap();
        let secret_key = SecretKey::open(folder.path()).unwrap();
        let identity = Identity::new("http://issuer".to_owned());
        let app = AppName::new("a").unwrap();
        assert!(identity.token(&app, "x", 0).is_none());
        let begin = 1_000 * DAY_MS;
        let refresh = async |at_ms: u64, replace| {
            identity.refresh(&db, &secret_key, at_ms, replace).await.unwrap();
            published(&identity)
        };
        let first = refresh(begin, false).await;
        assert_eq!(first.len(), 1);
        // A restart reads it again; nothing changes within its life.
        assert_eq!(refresh(begin + 29 * DAY_MS, false).await, first);
        let second = refresh(begin + 30 * DAY_MS, false).await;
        assert_eq!((second.len(), &second[1]), (2, &first[0]));
        let token = identity.token(&app, "x", begin + 30 * DAY_MS).unwrap().text;
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        assert!(String::from_utf8(header).unwrap().contains(&second[0]));
        assert_eq!(refresh(begin + 31 * DAY_MS + 1, false).await, [second[0].clone()]);
        let replaced = refresh(begin + 31 * DAY_MS + 2, true).await;
        assert_eq!((replaced.len(), &replaced[1]), (2, &second[0]));
        let other = tempfile::tempdir().unwrap();
        let wrong_key = SecretKey::open(other.path()).unwrap();
        assert!(identity.refresh(&db, &wrong_key, begin, false).await.is_err());
    }

    #[test]
    fn audiences_are_plain_text() {
        assert!(is_audience("https://api.example.com/x") && is_audience("orders"));
        for bad in ["", "a b", "a\n", "ä", &"a".repeat(limits::AUDIENCE_BYTES_MAX + 1)] {
            assert!(!is_audience(bad), "{bad:?}");
        }
    }
}
