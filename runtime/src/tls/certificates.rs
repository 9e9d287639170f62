//! The certificates that a host serves, and which of them a client gets.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::sign::CertifiedKey;

use crate::tls::certificate::Certificate;

/// Where certificates come from. Each source replaces all of its own at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Source {
    /// Files of the operator. They go before the others.
    Files,
    /// A certificate authority that is asked by ACME.
    Acme,
}

/// The certificates of a host. Reading takes no lock.
#[derive(Debug, Default)]
pub struct Certificates {
    sources: Mutex<[Vec<Arc<Certificate>>; 2]>,
    by_name: ArcSwap<ByName>,
}

/// Finds a certificate by the name that the client sends.
#[derive(Debug, Default)]
struct ByName {
    names: HashMap<Box<str>, (Source, Arc<CertifiedKey>)>,
    /// For clients that send no name, or one that nobody holds a certificate for: that of the host, if it has only one.
    only: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Replaces all certificates of `source`.
    pub fn replace(&self, source: Source, certificates: Vec<Arc<Certificate>>) {
        let mut sources = self.sources.lock();
        sources[source as usize] = certificates;
        let [files, acme] = &*sources;
        let mut names = HashMap::new();
        // Of two for one name the later one is taken: files after others, and of one source who holds longer.
        for (source, certificates) in [(Source::Acme, acme), (Source::Files, files)] {
            let mut certificates: Vec<_> = certificates.iter().collect();
            certificates.sort_by_key(|certificate| certificate.not_after);
            for certificate in certificates {
                for name in &certificate.names {
                    names.insert(name.as_str().into(), (source, certificate.key.clone()));
                }
            }
        }
        let only = match files.as_slice() {
            [only] => Some(only.key.clone()),
            _ => None,
        };
        self.by_name.store(Arc::new(ByName { names, only }));
    }

    /// Returns the certificate for a client that sends `name` (SNI), or none.
    pub fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let all = self.by_name.load();
        let lower = name.map(str::to_ascii_lowercase);
        let found = lower.as_deref().and_then(|name| all.of(name)).map(|(_, key)| key);
        found.or(all.only.as_ref()).cloned()
    }

    /// Returns where the certificate comes from that is served for `name`, which is in lower case.
    pub fn source_of(&self, name: &str) -> Option<Source> {
        self.by_name.load().of(name).map(|(source, _)| *source)
    }

    /// Returns all certificates with their sources.
    pub fn all(&self) -> Vec<(Source, Arc<Certificate>)> {
        let [files, acme] = &*self.sources.lock();
        let of = |source, certificates: &[Arc<Certificate>]| {
            certificates.iter().map(|certificate| (source, certificate.clone())).collect::<Vec<_>>()
        };
        [of(Source::Files, files), of(Source::Acme, acme)].concat()
    }
}

impl ByName {
    fn of(&self, name: &str) -> Option<&(Source, Arc<CertifiedKey>)> {
        let wildcard = || name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.names.get(name).or_else(|| self.names.get(wildcard()?.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn made(names: &[&str]) -> Arc<Certificate> {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap())
    }

    #[test]
    fn a_client_gets_the_certificate_of_the_name_that_it_sends() {
        let [both, wild, of_acme] =
            [made(&["a.example", "b.example"]), made(&["*.example"]), made(&["b.example", "c.test"])];
        let certificates = Certificates::default();
        assert!(certificates.find(None).is_none());
        certificates.replace(Source::Acme, vec![of_acme.clone()]);
        certificates.replace(Source::Files, vec![both.clone(), wild.clone()]);
        for (name, expected) in [
            (Some("a.example"), Some(&both)),
            (Some("A.EXAMPLE"), Some(&both)),
            (Some("b.example"), Some(&both)),
            (Some("x.example"), Some(&wild)),
            (Some("c.test"), Some(&of_acme)),
            (Some("x.y.example"), None),
            (Some("d.test"), None),
            (Some(""), None),
            (None, None),
        ] {
            let found = certificates.find(name);
            assert_eq!(found.is_some(), expected.is_some(), "{name:?}");
            assert!(found.iter().zip(expected).all(|(found, one)| Arc::ptr_eq(found, &one.key)), "{name:?}");
        }
        assert_eq!(certificates.all().len(), 3);
        // One file is for everybody, as its operator has no other.
        certificates.replace(Source::Files, vec![both.clone()]);
        for name in [None, Some("d.test")] {
            assert!(certificates.find(name).is_some_and(|found| Arc::ptr_eq(&found, &both.key)), "{name:?}");
        }
        certificates.replace(Source::Files, Vec::new());
        assert!(certificates.find(Some("a.example")).is_none());
    }
}
