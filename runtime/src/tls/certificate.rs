//! One certificate with its key, as it was read: checked, and with the names and the time for which it holds.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::names::HostName;

/// A certificate that can be served. Cheap to share.
#[derive(Debug)]
pub struct Certificate {
    /// Chain and key, as TLS takes them.
    pub key: Arc<CertifiedKey>,
    /// The names and addresses it holds for, in lower case; `*.example.com` for all names one label below.
    pub names: Vec<String>,
    /// Who issued it, for people.
    pub issuer: String,
    /// From when on it holds, in seconds since 1970.
    pub not_before: i64,
    /// Until when it holds, in seconds since 1970.
    pub not_after: i64,
}

/// Why bytes are no certificate that can be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file of the chain has no certificate in PEM.
    #[error("there is no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// The chain cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Certificate(String),
    /// The file of the key has no key in PEM.
    #[error("there is no private key in PEM form (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// The key has a passphrase.
    #[error(
        "the private key is encrypted; wfn takes one without a passphrase (openssl pkey -in KEY -out PLAIN)"
    )]
    EncryptedKey,
    /// The key cannot be used.
    #[error("the private key does not fit: {0}")]
    Key(String),
    /// It names nobody.
    #[error("the certificate names no host (subjectAltName)")]
    NoName,
}

/// More names than any authority puts into one certificate.
const NAMES_MAX: usize = 1_000;

impl Certificate {
    /// Reads a chain, the certificate of the host first, and its key, both as PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let ders = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
        let ders = ders.map_err(|error| CertificateError::Certificate(error.to_string()))?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(_) if is_encrypted(key) => return Err(CertificateError::EncryptedKey),
            Err(rustls::pki_types::pem::Error::NoItemsFound) => return Err(CertificateError::NoKey),
            Err(error) => return Err(CertificateError::Key(error.to_string())),
        };
        Self::new(ders, key)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        let first = chain.first().ok_or(CertificateError::NoCertificate)?;
        let unread = |error: &dyn std::fmt::Display| CertificateError::Certificate(error.to_string());
        let (_, read) = X509Certificate::from_der(first).map_err(|error| unread(&error))?;
        let names = names_of(&read).map_err(|error| unread(&error))?;
        if names.is_empty() {
            return Err(CertificateError::NoName);
        }
        let (issuer, validity) = (read.issuer().to_string(), read.validity().clone());
        let provider = ring::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider);
        let key = key.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                CertificateError::Key("it belongs to another certificate".into())
            }
            error => CertificateError::Key(error.to_string()),
        })?;
        Ok(Self {
            key: Arc::new(key),
            names,
            issuer,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// Whether it holds for `name`, which is in lower case.
    pub fn is_for(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| own == name || (own.strip_prefix("*.") == parent && parent.is_some()))
    }
}

fn is_encrypted(pem: &[u8]) -> bool {
    let has = |part: &[u8]| pem.windows(part.len()).any(|window| window == part);
    has(b"ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
}

fn names_of(certificate: &X509Certificate<'_>) -> Result<Vec<String>, x509_parser::error::X509Error> {
    let Some(extension) = certificate.subject_alternative_name()? else { return Ok(Vec::new()) };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => {
            let name = name.to_ascii_lowercase();
            HostName::new(name.strip_prefix("*.").unwrap_or(&name)).is_ok().then_some(name)
        }
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    };
    Ok(extension.value.general_names.iter().filter_map(name).take(NAMES_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn made(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_certificate_holds_for_its_names_and_those_one_below_its_wildcards() {
        let (chain, key) = made(&["a.example", "*.B.example", "192.0.2.7"]);
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(certificate.names, ["a.example", "*.b.example", "192.0.2.7"]);
        for (name, expected) in [
            ("a.example", true),
            ("x.b.example", true),
            ("192.0.2.7", true),
            ("b.example", false),
            ("x.y.b.example", false),
            ("x.a.example", false),
            ("example", false),
            ("", false),
        ] {
            assert_eq!(certificate.is_for(name), expected, "{name}");
        }
        assert!(certificate.not_before < certificate.not_after);
    }

    #[test]
    fn what_cannot_be_served_says_why() {
        let ((chain, key), (other_chain, other_key)) = (made(&["a.example"]), made(&["a.example"]));
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let cut = &chain[..chain.len() / 2];
        for (chain, key, expected) in [
            (chain.as_str(), other_key.as_str(), "it belongs to another certificate"),
            (&other_chain, &key, "it belongs to another certificate"),
            (&chain, encrypted, "the private key is encrypted"),
            (&chain, "", "there is no private key"),
            (&chain, &chain, "there is no private key"),
            ("", &key, "there is no certificate"),
            (&key, &key, "there is no certificate"),
            (cut, &key, "certificate"),
            (&made(&[]).0, &key, "names no host"),
        ] {
            let error = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} instead of {expected}");
        }
    }
}
