//! What this host answers to a certificate authority that checks whether a name leads here (RFC 8555, 8; RFC 8737).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::sign::CertifiedKey;

/// The application protocol with which an authority asks for the certificate of a challenge (RFC 8737, 4).
pub const ACME_TLS: &[u8] = b"acme-tls/1";
/// Where an authority asks for the text of a challenge (RFC 8555, 8.3).
const HTTP_PREFIX: &str = "/.well-known/acme-challenge/";

/// The answers that are ready. An authority asks for them for seconds.
#[derive(Debug, Default)]
pub struct Challenges {
    ready: Mutex<Ready>,
}

#[derive(Debug, Default)]
struct Ready {
    by_token: HashMap<String, String>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

/// What is to be answered to one challenge.
#[derive(Debug, Clone)]
pub enum Answer {
    /// `http-01`: a text, by its token.
    Http {
        /// Names the challenge.
        token: String,
        /// The answer.
        text: String,
    },
    /// `tls-alpn-01`: a certificate, by the name that is checked.
    Tls {
        /// The name, in lower case.
        name: String,
        /// The answer.
        key: Arc<CertifiedKey>,
    },
}

/// An answer is ready as long as this lives.
pub struct Kept {
    challenges: Arc<Challenges>,
    answer: Answer,
}

impl Challenges {
    /// Answers `answer` until what is returned is dropped.
    pub fn keep(self: &Arc<Self>, answer: Answer) -> Kept {
        let mut ready = self.ready.lock();
        match answer.clone() {
            Answer::Http { token, text } => drop(ready.by_token.insert(token, text)),
            Answer::Tls { name, key } => drop(ready.by_name.insert(name, key)),
        }
        Kept { challenges: self.clone(), answer }
    }

    /// Returns the text for a request of this `path`, if it is that of a challenge.
    pub fn text(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(HTTP_PREFIX)?;
        self.ready.lock().by_token.get(token).cloned()
    }

    /// Returns the certificate for a handshake that asks for a challenge of `name`.
    pub fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.ready.lock().by_name.get(&name.to_ascii_lowercase()).cloned()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut ready = self.challenges.ready.lock();
        match &self.answer {
            Answer::Http { token, .. } => drop(ready.by_token.remove(token)),
            Answer::Tls { name, .. } => drop(ready.by_name.remove(name)),
        }
    }
}
