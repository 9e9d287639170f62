//! Signed tokens that prove to others which app is calling.

use http::Method;
use serde::Deserialize;

use crate::Body;
use crate::call::Call;
use crate::service::{encoded, json, request};

/// A token for one service.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Token {
    /// The value for the header `authorization: Bearer …`.
    pub access_token: String,
    /// For how many seconds it is valid.
    pub expires_in: u64,
}

/// Asks for a token that tells the service `audience` which app this is: a JWT signed by the host.
///
/// ```
/// use wfn_sdk::{Error, Request, Response, fetch, identity};
///
/// fn orders() -> Result<Response, Error> {
///     let token = identity::token("https://orders.example.com").send()?;
///     let request = Request::get("https://orders.example.com/today")
///         .header("authorization", format!("Bearer {}", token.access_token));
///     Ok(fetch(request.body(())?).send()?)
/// }
/// ```
pub fn token(audience: &str) -> Call<Token> {
    let path = format!("identity/token?audience={}", encoded(audience));
    Call::service(request(Method::GET, &path, None, Body::empty()), &[], Some(16 * 1024), json)
}

/// Hides the token, which is a secret.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(good for {} s)", self.expires_in)
    }
}
