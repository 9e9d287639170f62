//! Who asks the admin API, as far as rights go, and by what that is known.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

/// Carries the token where `authorization` belongs to the function that is invoked.
const TOKEN: HeaderName = HeaderName::from_static("wfn-token");

/// Who asks: an extension of each request that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whoever has the token.
    Operator,
    /// Somebody on this machine.
    Viewer,
}

/// What the host lets in.
pub struct Access {
    /// SHA-256 of the token: comparing digests takes the same time for every wrong guess.
    token: [u8; 32],
    /// Whether what is seen of the host may be looked at without the token.
    pub is_open: bool,
}

impl Access {
    /// Holders of `token`, and if it `is_open` whoever only looks.
    pub fn new(token: &str, is_open: bool) -> Self {
        Self { token: Sha256::digest(token).into(), is_open }
    }

    /// Takes the token off the request; says whether it is the right one, or none was given.
    pub fn has_token(&self, headers: &mut HeaderMap) -> Option<bool> {
        let given = match headers.remove(TOKEN) {
            Some(token) => Some(token),
            None => headers.remove(AUTHORIZATION),
        };
        let given = given?;
        let text = given.to_str().unwrap_or_default();
        let digest: [u8; 32] = Sha256::digest(text.strip_prefix("Bearer ").unwrap_or(text)).into();
        Some(digest == self.token)
    }
}
