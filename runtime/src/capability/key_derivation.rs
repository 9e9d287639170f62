//! `POST http://wfn.internal/kdf/scrypt` and `/kdf/pbkdf2`: keys from passwords, for languages that take long to compute them.
//!
//! The body is the password, the answer is the key, both as bytes. The query has the rest: `salt` in base64url, `length` of
//! the key in bytes, and `n`, `r`, `p` of scrypt (RFC 7914) or `hash` and `iterations` of PBKDF2 (RFC 8018).
//!
//! Such a key takes up to seconds of a core, by intent. So one is computed for a revision of an app at a time, on compute threads,
//! and for all apps together on half of the cores.

use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use ring::pbkdf2;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::WasiBody;

use crate::capability::request::value_of;
use crate::capability::response::{bytes, refused};
use crate::refusal::Refusal;
use crate::{event_loop, limits};

/// The threads that compute keys, for all apps.
pub struct KeyDerivation {
    compute: Handle,
    cores: Arc<Semaphore>,
}

impl KeyDerivation {
    /// Computes on threads of `compute`.
    pub fn new(compute: Handle) -> Self {
        Self { compute, cores: Arc::new(Semaphore::new((event_loop::cores() / 2).max(1))) }
    }

    /// The key of `password`, when it is the turn of the caller, who is the only one of its app that waits here.
    async fn key(
        &self,
        function: Function,
        salt: Vec<u8>,
        password: Vec<u8>,
        length: usize,
    ) -> Option<Vec<u8>> {
        let core = self.cores.clone().acquire_owned().await.ok()?;
        let computed = self.compute.spawn_blocking(move || {
            // Held to the end, even if nobody waits for the key any more.
            let _core = core;
            let mut key = vec![0; length];
            function.compute(&password, &salt, &mut key).then_some(key)
        });
        computed.await.ok()?
    }
}

/// How a key is computed.
#[derive(Clone, Copy)]
enum Function {
    Scrypt(scrypt::Params),
    Pbkdf2(pbkdf2::Algorithm, NonZeroU32),
}

impl Function {
    /// The function that `name` and a query describe, within the bounds of this host. The error says what is allowed.
    fn of(name: &str, query: &str) -> Result<Self, String> {
        let number =
            |name| value_of(query, name).and_then(|text| text.parse::<u32>().ok()).and_then(NonZeroU32::new);
        if name == "scrypt" {
            let wanted = || Some((number("n")?.get(), number("r")?.get(), number("p")?.get()));
            let (n, r, p) = wanted().ok_or("n, r, p: use numbers from 1 on")?;
            let memory = 128 * u128::from(n) * u128::from(r);
            let work = u128::from(n) * u128::from(r) * u128::from(p);
            let (memory_max, work_max) = (limits::SCRYPT_BYTES_MAX, limits::SCRYPT_WORK_MAX);
            if memory > memory_max.into() || work > work_max.into() {
                return Err(format!("n, r, p: at most {memory_max} for 128 n r, and {work_max} for n r p"));
            }
            if n < 2 || !n.is_power_of_two() {
                return Err("n: use a power of 2".into());
            }
            let params = scrypt::Params::new(n.ilog2() as u8, r, p, scrypt::Params::RECOMMENDED_LEN);
            return Ok(Self::Scrypt(params.map_err(|_| "n, r, p: n is below 2^(16 r), and r p below 2^30")?));
        }
        let algorithm = match value_of(query, "hash").as_deref() {
            Some("sha1") => pbkdf2::PBKDF2_HMAC_SHA1,
            Some("sha256") => pbkdf2::PBKDF2_HMAC_SHA256,
            Some("sha384") => pbkdf2::PBKDF2_HMAC_SHA384,
            Some("sha512") => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return Err("hash: use sha1, sha256, sha384 or sha512".into()),
        };
        let most = limits::KDF_ITERATIONS_MAX;
        let iterations = number("iterations").filter(|iterations| iterations.get() <= most);
        Ok(Self::Pbkdf2(algorithm, iterations.ok_or_else(|| format!("iterations: use 1 to {most}"))?))
    }

    /// Fills `key`. Returns whether that was possible.
    fn compute(self, password: &[u8], salt: &[u8], key: &mut [u8]) -> bool {
        match self {
            Self::Scrypt(params) => scrypt::scrypt(password, salt, &params, key).is_ok(),
            Self::Pbkdf2(algorithm, iterations) => {
                pbkdf2::derive(algorithm, iterations, salt, password, key);
                true
            }
        }
    }
}

/// Answers a request; `name` is what follows `/kdf/`. `turn` has one permit, that of the app.
pub async fn answer(
    derivation: &KeyDerivation,
    turn: &Semaphore,
    name: &str,
    request: Request<WasiBody>,
) -> Response<WasiBody> {
    match derive(derivation, turn, name, request).await {
        Ok(key) => bytes(StatusCode::OK, key),
        Err(refusal) => refused(refusal),
    }
}

async fn derive(
    derivation: &KeyDerivation,
    turn: &Semaphore,
    name: &str,
    request: Request<WasiBody>,
) -> Result<Vec<u8>, Refusal> {
    let bad = |why: String| Refusal::new(StatusCode::BAD_REQUEST, "bad-request", why);
    if !matches!(name, "scrypt" | "pbkdf2") {
        let message = "there is /kdf/scrypt and /kdf/pbkdf2";
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no-such-path", message));
    }
    if request.method() != Method::POST {
        return Err(Refusal::not_allowed("POST"));
    }
    let query = request.uri().query().unwrap_or_default();
    let function = Function::of(name, query).map_err(bad)?;
    let length_max = limits::KDF_LENGTH_MAX;
    let length = value_of(query, "length").and_then(|text| text.parse().ok());
    let length = length.filter(|length| (1..=length_max).contains(length));
    let length = length.ok_or_else(|| bad(format!("length: use 1 to {length_max}")))?;
    let input_max = limits::KDF_INPUT_BYTES_MAX;
    let salt = value_of(query, "salt").and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let salt = salt.filter(|salt| salt.len() <= input_max);
    let salt = salt
        .ok_or_else(|| bad(format!("salt: use base64url without padding, of at most {input_max} bytes")))?;
    let password = match Limited::new(request.into_body(), input_max).collect().await {
        Ok(body) => body.to_bytes().into(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(bad(format!("password: use at most {input_max} bytes")));
        }
        Err(_) => return Err(Refusal::new(StatusCode::BAD_REQUEST, "body-broken", "the body ended early")),
    };
    let message = "the key was not computed; is the host stopping?";
    let failed = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "key-failed", message);
    let _turn = turn.acquire().await.map_err(|_| failed())?;
    derivation.key(function, salt, password, length).await.ok_or_else(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, query: &str, password: &str, salt: &str) -> String {
        let mut key = [0; 64];
        assert!(Function::of(name, query).unwrap().compute(password.as_bytes(), salt.as_bytes(), &mut key));
        key.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_are_those_of_the_standards() {
        // RFC 7914, 11 and 12.
        let of_pbkdf2 = "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
                         49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783";
        assert_eq!(key("pbkdf2", "hash=sha256&iterations=1", "passwd", "salt"), of_pbkdf2);
        let of_scrypt = "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162\
                         2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640";
        assert_eq!(key("scrypt", "n=1024&r=8&p=16", "password", "NaCl"), of_scrypt);
    }

    #[test]
    fn what_would_take_too_long_or_too_much_is_refused() {
        for (name, query) in [
            ("scrypt", "n=16&r=1"),
            ("scrypt", "n=15&r=1&p=1"),
            ("scrypt", "n=1&r=1&p=1"),
            ("scrypt", "n=131072&r=8&p=1"),
            ("scrypt", "n=1024&r=8&p=1000"),
            ("scrypt", "n=4294967295&r=4294967295&p=4294967295"),
            ("scrypt", "n=16384&r=8&p=-1"),
            ("pbkdf2", "hash=md5&iterations=1"),
            ("pbkdf2", "hash=sha256&iterations=0"),
            ("pbkdf2", "hash=sha256&iterations=10000001"),
            ("pbkdf2", "iterations=1"),
        ] {
            assert!(Function::of(name, query).is_err(), "{name} {query}");
        }
        for (name, query) in [("scrypt", "n=65536&r=8&p=4"), ("pbkdf2", "hash=sha1&iterations=10000000")] {
            assert!(Function::of(name, query).is_ok(), "{name} {query}");
        }
    }
}
