//! Configures TLS: for connections that this host opens, with the client for addresses that its operator names; and below, with
//! certificates, for those that it accepts.

pub mod certificate;
pub mod certificates;
pub mod challenges;
pub mod files;
pub mod server;

use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::limits;

/// Sends requests with bodies `B`.
pub type HttpClient<B> = Client<HttpsConnector<HttpConnector>, B>;

/// A client for HTTP/1.1 over connections that it keeps, with TLS for `https`.
pub fn http_client<B: Body<Data: Send> + Send>() -> HttpClient<B> {
    http_client_with(of_the_system())
}

/// The same with another TLS configuration.
pub fn http_client_with<B: Body<Data: Send> + Send>(config: rustls::ClientConfig) -> HttpClient<B> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(limits::OUTBOUND_CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(limits::OUTBOUND_IDLE_TIMEOUT)
        .build(connector)
}

/// Returns a TLS configuration that trusts the certificates of the system.
pub fn of_the_system() -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("read the system's root certificates: {error}");
    }
    if roots.add_parsable_certificates(found.certs).0 == 0 {
        tracing::warn!(
            "no root certificates found: https requests of functions will fail (install ca-certificates)"
        );
    }
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

/// Returns a TLS configuration that trusts the certificates of `pem`, or why there are none.
pub fn of_roots(pem: &[u8]) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added =
            certificate.map_err(|error| error.to_string()).map(|certificate| roots.add(certificate))?;
        added.map_err(|error| error.to_string())?;
    }
    match roots.is_empty() {
        true => Err("there is no root certificate in PEM form".to_owned()),
        false => Ok(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()),
    }
}
