//! Configures TLS for connections that this host accepts: versions, application protocols, resumption.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::{self, Ticketer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::tls::certificates::Certificates;
use crate::tls::challenges::ACME_TLS;

/// HTTP/2 over TLS (RFC 9113, 3.2).
pub const HTTP2: &[u8] = b"h2";
/// HTTP/1.1 over TLS (RFC 7301).
const HTTP1: &[u8] = b"http/1.1";

/// Gives each client the certificate of the name that it sends.
struct ByName(Arc<Certificates>);

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByName")
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.find(hello.server_name())
    }
}

/// Gives every client the same certificate.
#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn with(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_no_client_auth().with_cert_resolver(resolver))
}

/// Returns the configuration for functions: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. Sessions are resumed by tickets, whose keys change
/// every six hours, so that nothing is kept for a client.
pub fn config(certificates: Arc<Certificates>) -> Result<ServerConfig, rustls::Error> {
    let mut config = with(Arc::new(ByName(certificates)))?;
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

/// Returns the configuration that answers one check of a certificate authority with `key` (RFC 8737).
pub fn challenge_config(key: Arc<CertifiedKey>) -> Result<ServerConfig, rustls::Error> {
    let mut config = with(Arc::new(Only(key)))?;
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(config)
}
