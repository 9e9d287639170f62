//! Talks to a certificate authority by ACME (RFC 8555): the account, one order for one name, and when it wants a renewal.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Limited;
use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, BodyWrapper, BytesResponse, CertificateIdentifier,
    ChallengeType, Error, HttpClient, Identifier, Key, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use tokio::time::timeout;

use crate::acme::schedule;
use crate::acme::store::{Order, Pem};
use crate::persist::error::DbError;
use crate::text;
use crate::tls;
use crate::tls::challenges::{Answer, Challenges, Kept};

/// More than any answer of an authority has.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Time for one answer of the authority.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How the authority is asked for what it works at: every half second at first, for a minute and a half.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.3)
    .timeout(Duration::from_secs(90));

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The authority has said so, or cannot be reached.
    #[error("{0}")]
    Authority(#[from] Error),
    /// It offers no check that this host can pass.
    #[error("the authority offers neither tls-alpn-01 nor http-01")]
    NoChallenge,
    /// It has found that the name does not lead here, or has refused the order.
    #[error("the authority has refused the order")]
    Refused,
    /// A key or a certificate cannot be made.
    #[error("make a key: {0}")]
    Key(String),
    /// What came last cannot be kept.
    #[error("keep it: {0}")]
    Keep(#[from] DbError),
}

impl OrderError {
    /// Whether the authority says that there were too many orders.
    pub fn is_rate_limited(&self) -> bool {
        matches!(self, Self::Authority(Error::Api(problem))
            if problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:rateLimited"))
    }
}

/// An account at an authority.
pub struct Authority {
    account: Account,
    challenges: Arc<Challenges>,
}

/// An order that has begun.
pub struct Begun {
    order: instant_acme::Order,
    key: KeyPair,
}

impl Begun {
    /// What has to be kept of it.
    pub fn kept(&self) -> Order {
        Order { url: self.order.url().to_owned(), key: self.key.serialize_pem() }
    }
}

/// Asks the authority, with bounds on the time and the length of its answers.
struct Bounded(tls::HttpClient<BodyWrapper<Bytes>>);

impl HttpClient for Bounded {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answered = self.0.request(request);
        Box::pin(async move {
            let answered = timeout(ANSWER_TIMEOUT, answered).await;
            let answered = answered.map_err(|_| Error::Str("the authority does not answer"))?;
            let answered = answered.map_err(|error| Error::Other(text::chain(&error).into()))?;
            Ok(answered.map(|body| Limited::new(body, ANSWER_BYTES_MAX)).into())
        })
    }
}

impl Authority {
    /// Makes a key for an account, as PKCS #8.
    pub fn new_key() -> Result<Vec<u8>, OrderError> {
        Ok(Key::generate_pkcs8()?.1.secret_pkcs8_der().to_vec())
    }

    /// Opens the account with `key` at `directory`. If there is none, the authority makes one. `client` trusts the authority.
    pub async fn open(
        directory: &str,
        key: &[u8],
        contact: Option<&str>,
        client: tls::HttpClient<BodyWrapper<Bytes>>,
        challenges: Arc<Challenges>,
    ) -> Result<Self, OrderError> {
        let der = PrivatePkcs8KeyDer::from(key.to_vec());
        let key = Key::from_pkcs8_der(der.clone_key())?;
        let builder = Account::builder_with_http(Box::new(Bounded(client)));
        let (account, _) =
            builder.create_from_key((key, PrivateKeyDer::Pkcs8(der)), directory.to_owned()).await?;
        if let Some(contact) = contact {
            account.update_contacts(&[contact]).await?;
        }
        Ok(Self { account, challenges })
    }

    /// Goes on with the order that was `kept`, or makes a new one for `name`. It has to be kept before it is completed.
    pub async fn begin(&self, name: &str, kept: Option<&Order>) -> Result<Begun, OrderError> {
        if let Some(kept) = kept
            // If it is not found, the authority has forgotten it.
            && let Ok(mut order) = self.account.order(kept.url.clone()).await
            && order.state().status != OrderStatus::Invalid
            && let Ok(key) = KeyPair::from_pem(&kept.key)
        {
            return Ok(Begun { order, key });
        }
        let key = KeyPair::generate().map_err(|error| OrderError::Key(error.to_string()))?;
        let order = self.account.new_order(&NewOrder::new(&[Identifier::Dns(name.to_owned())])).await?;
        Ok(Begun { order, key })
    }

    /// Does what is left of an order, and returns the certificate. Its first check is by HTTP if it `prefers_http`.
    pub async fn complete(&self, name: &str, begun: Begun, prefers_http: bool) -> Result<Pem, OrderError> {
        let Begun { mut order, key } = begun;
        let mut answers = Vec::new();
        if order.state().status == OrderStatus::Pending {
            let mut authorizations = order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization?;
                if authorization.status == AuthorizationStatus::Pending {
                    answers.push(self.prove(name, &mut authorization, prefers_http).await?);
                }
            }
            if order.poll_ready(&POLLING).await? == OrderStatus::Invalid {
                return Err(OrderError::Refused);
            }
        }
        drop(answers);
        if order.state().status == OrderStatus::Ready {
            let request = CertificateParams::new([name.to_owned()]).and_then(|mut parameters| {
                parameters.distinguished_name = DistinguishedName::new();
                parameters.serialize_request(&key)
            });
            let request = request.map_err(|error| OrderError::Key(error.to_string()))?;
            order.finalize_csr(request.der()).await?;
        }
        let chain = order.poll_certificate(&POLLING).await?;
        Ok(Pem { chain, key: key.serialize_pem() })
    }

    /// Makes the answer to one check ready and asks for the check. The answer stays ready until it is dropped.
    async fn prove<'a>(
        &self,
        name: &str,
        authorization: &'a mut AuthorizationHandle<'a>,
        prefers_http: bool,
    ) -> Result<Kept, OrderError> {
        let offered = |kind: &ChallengeType| authorization.challenges.iter().any(|one| one.r#type == *kind);
        let mut kinds = [ChallengeType::TlsAlpn01, ChallengeType::Http01];
        if prefers_http {
            kinds.reverse();
        }
        let kind = kinds.into_iter().find(offered).ok_or(OrderError::NoChallenge)?;
        let mut challenge = authorization.challenge(kind.clone()).ok_or(OrderError::NoChallenge)?;
        let proof = challenge.key_authorization();
        let answer = match kind {
            ChallengeType::Http01 => {
                Answer::Http { token: challenge.token.clone(), text: proof.as_str().to_owned() }
            }
            _ => {
                let key = challenge_certificate(name, proof.digest().as_ref()).map_err(OrderError::Key)?;
                Answer::Tls { name: name.to_owned(), key: Arc::new(key) }
            }
        };
        let kept = self.challenges.keep(answer);
        challenge.set_ready().await?;
        Ok(kept)
    }

    /// Returns when the authority wants `certificate` renewed, in seconds since 1970, if it says so (RFC 9773).
    pub async fn renewal(&self, certificate: &CertificateDer<'_>, share: f64) -> Option<i64> {
        let identifier = CertificateIdentifier::try_from(certificate).ok()?;
        let (renewal, _) = self.account.renewal_info(&identifier).await.ok()?;
        let window = renewal.suggested_window;
        Some(schedule::within(window.start.unix_timestamp(), window.end.unix_timestamp(), share))
    }
}

/// Returns the certificate that proves to hold `name` (RFC 8737, 3).
fn challenge_certificate(name: &str, digest: &[u8]) -> Result<CertifiedKey, String> {
    let text = |error: rcgen::Error| error.to_string();
    let key = KeyPair::generate().map_err(text)?;
    let mut parameters = CertificateParams::new([name.to_owned()]).map_err(text)?;
    parameters.custom_extensions.push(CustomExtension::new_acme_identifier(digest));
    let certificate = parameters.self_signed(&key).map_err(text)?;
    let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = ring::sign::any_supported_type(&der).map_err(|error| error.to_string())?;
    // Not by `from_der`: rustls does not know the extension, which has to be critical, and refuses it.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}
