//! Checks the token: which role a caller of the admin API has.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

/// Carries the token if `authorization` belongs to the invoked function.
const TOKEN: HeaderName = HeaderName::from_static("wfn-token");

/// Role of a caller: an extension of each request that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A holder of the token.
    Operator,
    /// A caller without the token.
    Viewer,
}

/// The token, and whether callers without it may look.
pub struct Access {
    /// SHA-256 of the token: comparing digests takes the same time for every wrong guess.
    token: [u8; 32],
    /// Whether the dashboard and what it shows can be seen without the token.
    pub is_open: bool,
}

impl Access {
    /// Lets in holders of `token`, and, if it `is_open`, others who only look.
    pub fn new(token: &str, is_open: bool) -> Self {
        Self { token: Sha256::digest(token).into(), is_open }
    }

    /// Removes the token from the request. Returns whether it is the right one; `None` if there was none.
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
