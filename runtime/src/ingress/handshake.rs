//! Brings up TLS on a new connection: within a time, and among a bounded number of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use crate::ingress::malformed;
use crate::ingress::stream::Stream;
use crate::limits;
use crate::refusal::Refusal;
use crate::tls::certificates::Certificates;
use crate::tls::challenges::{ACME_TLS, Challenges};
use crate::tls::server;

/// The alert that no certificate is for the name that the client sends (RFC 6066, 3; RFC 8446, 6): a record of TLS.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The handshakes of one listener.
pub struct Handshakes {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    challenges: Arc<Challenges>,
    under_way: Mutex<UnderWay>,
}

/// The handshakes that have not ended, the oldest first. Dropping a sender ends its handshake.
#[derive(Default)]
struct UnderWay {
    next: u64,
    all: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Handshakes {
    /// Makes those of a listener that serves `certificates`, and answers `challenges`.
    pub fn new(
        certificates: Arc<Certificates>,
        challenges: Arc<Challenges>,
    ) -> Result<Arc<Self>, rustls::Error> {
        let config = Arc::new(server::config(certificates.clone())?);
        Ok(Arc::new(Self { config, certificates, challenges, under_way: Mutex::default() }))
    }

    /// Does the handshake of `stream`. `None` if the client does not get a connection: it has been told why, if it speaks TLS or
    /// HTTP. When there are too many, the oldest one has to end, so that clients who never finish keep out nobody.
    pub async fn shake(&self, stream: TcpStream) -> Option<Stream> {
        let (number, ended) = self.begin();
        let shaken = tokio::select! {
            shaken = timeout(limits::HANDSHAKE_TIMEOUT, self.shake_hands(stream)) => shaken.ok().flatten(),
            _ = ended => None,
        };
        self.under_way.lock().all.remove(&number);
        shaken
    }

    fn begin(&self) -> (u64, oneshot::Receiver<()>) {
        let (ends, ended) = oneshot::channel();
        let mut under_way = self.under_way.lock();
        let number = under_way.next;
        under_way.next += 1;
        under_way.all.insert(number, ends);
        if under_way.all.len() > limits::HANDSHAKES_MAX {
            under_way.all.pop_first();
        }
        (number, ended)
    }

    async fn shake_hands(&self, stream: TcpStream) -> Option<Stream> {
        let mut first = [0; 1];
        // Every client has hung up sometime; nobody is told.
        if stream.peek(&mut first).await.ok()? == 1 && first[0].is_ascii_uppercase() {
            let message = "this port speaks HTTPS; use https:// in the address";
            let refusal = Refusal::new(StatusCode::BAD_REQUEST, "https-only", message);
            return end(stream, &malformed::last_response(&refusal)).await;
        }
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
        let (name, asks_for_challenge) = {
            let hello = hello.client_hello();
            let asks = hello.alpn().is_some_and(|mut protocols| protocols.any(|one| one == ACME_TLS));
            (hello.server_name().map(str::to_owned), asks)
        };
        if asks_for_challenge
            && let Some(key) = name.as_deref().and_then(|name| self.challenges.certificate(name))
        {
            // The authority looks at the certificate. Nothing is sent over such a connection (RFC 8737, 3).
            let shaken = hello.into_stream(Arc::new(server::challenge_config(key).ok()?)).await;
            shaken.ok()?.shutdown().await.ok()?;
            return None;
        }
        if self.certificates.find(name.as_deref()).is_none() {
            return end(hello.io, &UNRECOGNIZED_NAME).await;
        }
        let shaken = hello.into_stream(self.config.clone()).await.ok()?;
        Some(Stream::Tls(Box::new(shaken)))
    }
}

/// Sends `last` and ends the connection. Reads on for a while: otherwise the client's system might drop what was sent.
async fn end(mut stream: TcpStream, last: &[u8]) -> Option<Stream> {
    stream.write_all(last).await.ok()?;
    stream.shutdown().await.ok()?;
    let reading = async {
        let mut room = [0; 1_024];
        while stream.read(&mut room).await.is_ok_and(|count| count > 0) {}
    };
    // A client that still sends has had time to read why.
    let _ = timeout(limits::LINGER_SILENCE_MAX, reading).await;
    None
}
