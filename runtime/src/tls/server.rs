//! Configures TLS for connections that this host accepts: versions, application protocols, resumption.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::{self, Ticketer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::tls::certificates::Certificates;

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

/// Returns the configuration for functions: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. Sessions are resumed by tickets, whose keys change
/// every six hours, so that nothing is kept for a client.
pub fn config(certificates: Arc<Certificates>) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName(certificates)));
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(config)
}
