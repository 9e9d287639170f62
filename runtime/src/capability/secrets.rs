//! Secrets: settings of an app whose values are encrypted at rest, given only to its guests, and never shown.
//!
//! Values are encrypted with AES-256-GCM under the host's key: a file of mode 0600 in the data directory, or a
//! credential from systemd. The names of the app and of the secret are authenticated with the value, so nobody with
//! write access to the database can move a value to another name.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::names::AppName;
use crate::persist::artifacts;

/// Name of a secret. Guests read the value from the environment variable of this name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

/// Why a name or a value cannot be that of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The name is not allowed.
    #[error("{0:?} cannot be the name of a secret: use up to 128 letters, digits and '_', not a digit first")]
    Name(String),
    /// The value is not allowed. It is not shown.
    #[error("the value of {0} is not text without NUL of up to {max} bytes", max = limits::SECRET_BYTES_MAX)]
    Value(SecretName),
    /// Too many secrets, or too many bytes together.
    #[error(
        "{count} secrets of {bytes} bytes: at most {} of {} bytes are allowed",
        limits::SECRETS_MAX,
        limits::ENV_BYTES_MAX
    )]
    TooMany {
        /// How many there would be.
        count: usize,
        /// Bytes of all names and values.
        bytes: usize,
    },
}

impl SecretName {
    /// Checks a name: up to 128 letters, digits and `_`, not a digit first.
    pub fn new(name: &str) -> Result<Self, SecretError> {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_valid = (1..=128).contains(&name.len())
            && name.bytes().all(is_inner)
            && !name.starts_with(|first: char| first.is_ascii_digit());
        match is_valid {
            true => Ok(Self(name.to_owned())),
            false => Err(SecretError::Name(name.chars().take(40).collect())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SecretName {
    type Error = SecretError;
    fn try_from(name: String) -> Result<Self, SecretError> {
        Self::new(&name)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

/// A secret's value. No format prints or stores it unencrypted.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    /// Checks the value of the secret `name`: text without NUL, at most [`limits::SECRET_BYTES_MAX`].
    pub fn new(name: &SecretName, value: String) -> Result<Self, SecretError> {
        match value.len() <= limits::SECRET_BYTES_MAX && !value.contains('\0') {
            true => Ok(Self(value)),
            false => Err(SecretError::Value(name.clone())),
        }
    }

    /// The value itself, for guests.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// The secrets of one app.
pub type Secrets = BTreeMap<SecretName, SecretValue>;

/// Changes of an app's secrets: a new value, or `None` to remove it.
pub type SecretChanges = BTreeMap<SecretName, Option<SecretValue>>;

/// `secrets` after `changes`. Fails if they exceed a limit.
pub fn changed(mut secrets: Secrets, changes: &SecretChanges) -> Result<Secrets, SecretError> {
    for (name, value) in changes {
        match value {
            Some(value) => secrets.insert(name.clone(), value.clone()),
            None => secrets.remove(name),
        };
    }
    let bytes = secrets.iter().map(|(name, value)| name.0.len() + value.0.len()).sum();
    let count = secrets.len();
    match count <= limits::SECRETS_MAX && bytes <= limits::ENV_BYTES_MAX {
        true => Ok(secrets),
        false => Err(SecretError::TooMany { count, bytes }),
    }
}

/// Name of the key's file, and of the credential of systemd (`LoadCredential=secret.key:…`).
const KEY_NAME: &str = "secret.key";
const KEY_BYTES: usize = 32;

/// The key that encrypts all secrets of a host.
pub struct SecretKey(LessSafeKey);

/// A value cannot be decrypted: the key is another one, or the bytes have changed.
#[derive(Debug, thiserror::Error)]
#[error("secret {0} cannot be decrypted: secret.key is not the key it was encrypted with")]
pub struct Unopened(String);

impl SecretKey {
    /// Opens the key of the host: the credential, or the file in `data_dir`, which is made if it does not exist.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let credential =
            std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join(KEY_NAME));
        if let Some(path) = credential.filter(|path| path.exists()) {
            return Self::new(&fs::read(path)?);
        }
        let path = data_dir.join(KEY_NAME);
        match fs::read(&path) {
            Ok(bytes) => {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
                Self::new(&bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0; KEY_BYTES];
                getrandom::fill(&mut bytes).map_err(io::Error::other)?;
                let mut file = artifacts::temporary_in(data_dir)?;
                file.file().write_all(&bytes)?;
                file.publish(&path)?;
                Self::new(&bytes)
            }
            Err(error) => Err(error),
        }
    }

    fn new(bytes: &[u8]) -> io::Result<Self> {
        let wrong =
            || io::Error::other(format!("{KEY_NAME} has to have {KEY_BYTES} bytes, it has {}", bytes.len()));
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| wrong())?)))
    }

    /// Encrypts `bytes` and binds them to `place`. The result is different each time.
    pub fn seal(&self, place: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let mut sealed = bytes.to_vec();
        let (unique, place) = (Nonce::assume_unique_for_key(nonce), Aad::from(place.as_bytes()));
        self.0
            .seal_in_place_append_tag(unique, place, &mut sealed)
            .map_err(|_| io::Error::other("encryption failed"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts what [`Self::seal`] made for the same place with the same key; `None` for anything else.
    pub fn unseal(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = rest.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(place.as_bytes()), &mut bytes).ok()?;
        Some(opened.to_vec())
    }

    /// Encrypts the value of an app's secret.
    pub fn seal_secret(&self, app: &AppName, name: &SecretName, value: &SecretValue) -> io::Result<Vec<u8>> {
        self.seal(&place(app, name), value.0.as_bytes())
    }

    /// Decrypts the value of an app's secret.
    pub fn unseal_secret(
        &self,
        app: &AppName,
        name: &SecretName,
        sealed: &[u8],
    ) -> Result<SecretValue, Unopened> {
        let bytes = self.unseal(&place(app, name), sealed);
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.map(SecretValue).ok_or_else(|| Unopened(name.to_string()))
    }
}

/// The place that a value is bound to. Neither name can contain the separator.
fn place(app: &AppName, name: &SecretName) -> String {
    format!("secret\0{app}\0{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    fn value(text: &str) -> SecretValue {
        SecretValue::new(&name("X"), text.to_owned()).unwrap()
    }

    #[test]
    fn a_sealed_value_opens_in_its_own_place_alone() {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::open(folder.path()).unwrap();
        let (a, b) = (AppName::new("a").unwrap(), AppName::new("b").unwrap());
        let sealed = key.seal_secret(&a, &name("X"), &value("hunter2")).unwrap();
        assert_ne!(sealed, key.seal_secret(&a, &name("X"), &value("hunter2")).unwrap());
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        // The same key is read again.
        let key = SecretKey::open(folder.path()).unwrap();
        assert_eq!(key.unseal_secret(&a, &name("X"), &sealed).unwrap(), value("hunter2"));
        assert!(key.unseal_secret(&b, &name("X"), &sealed).is_err());
        assert!(key.unseal_secret(&a, &name("Y"), &sealed).is_err());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(key.unseal_secret(&a, &name("X"), &changed).is_err());
            assert!(key.unseal_secret(&a, &name("X"), &sealed[..index]).is_err());
        }
        let other = tempfile::tempdir().unwrap();
        assert!(SecretKey::open(other.path()).unwrap().unseal_secret(&a, &name("X"), &sealed).is_err());
        let mode = fs::metadata(folder.path().join(KEY_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(KEY_NAME), b"short").unwrap();
        assert!(SecretKey::open(folder.path()).is_err());
    }

    #[test]
    fn names_and_values_are_bounded() {
        for bad in ["", "1A", "A-B", "A B", "Ä", "A=B", &"A".repeat(129)] {
            assert!(SecretName::new(bad).is_err(), "{bad}");
        }
        for bad in ["a\0b", &"x".repeat(limits::SECRET_BYTES_MAX + 1)] {
            assert!(SecretValue::new(&name("A"), bad.to_owned()).is_err());
        }
        let many = (0..=limits::SECRETS_MAX).map(|index| (name(&format!("S{index}")), Some(value("v"))));
        assert!(changed(Secrets::new(), &many.collect()).is_err());
        let removed = changed([(name("A"), value("v"))].into(), &[(name("A"), None)].into()).unwrap();
        assert!(removed.is_empty());
    }

    #[test]
    fn a_value_is_not_shown() {
        let secrets = Secrets::from([(name("TOKEN"), value("s3cret-token"))]);
        assert!(!format!("{secrets:?}").contains("s3cret"));
    }
}
