//! TLS for whom this host calls.

/// TLS that trusts whom the system trusts.
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
