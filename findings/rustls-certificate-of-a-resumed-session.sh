#!/usr/bin/env bash
# rustls: a client that resumes its session never sees that the server's certificate was renewed.
#
# One would guess: peer_certificates() of a new connection gives the certificate that the server serves now, so a probe that connects every
# minute notices a renewal, or an expiry.
# It is so: a resumed handshake sends no certificate. The client is given that of its first handshake, for as long as it keeps resuming, also
# when the server has long had another one. A probe has to switch resumption off (ClientConfig::resumption), or look at handshake_kind().
#
# Seen on 2026-12-01 with rustls 0.23.46 and rcgen 0.14.10 (crates.io), TLS 1.3.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "seen"
version = "0.0.0"
edition = "2021"
[dependencies]
rustls = { version = "=0.23.46", default-features = false, features = ["ring", "std"] }
rcgen = { version = "=0.14.10", default-features = false, features = ["crypto", "ring"] }
END
cat > src/main.rs <<'END'
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::ring::{default_provider, Ticketer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

#[derive(Debug)]
struct Served(Mutex<Arc<CertifiedKey>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().unwrap().clone())
    }
}

/// One handshake in memory; gives the certificate that the client is told, and how the handshake was.
fn connect(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (CertificateDer<'static>, String) {
    let name = ServerName::try_from("shop.example").unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    for _ in 0..10 {
        let mut sent = Vec::new();
        client.write_tls(&mut sent).unwrap();
        server.read_tls(&mut &sent[..]).unwrap();
        server.process_new_packets().unwrap();
        sent.clear();
        server.write_tls(&mut sent).unwrap();
        client.read_tls(&mut &sent[..]).unwrap();
        client.process_new_packets().unwrap();
    }
    let shown = client.peer_certificates().unwrap()[0].clone().into_owned();
    (shown, format!("{:?}", client.handshake_kind().unwrap()))
}

fn main() {
    default_provider().install_default().unwrap();
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut roots = RootCertStore::empty();
    roots.add(root.self_signed(&root_key).unwrap().der().clone()).unwrap();
    let issuer = Issuer::new(root, root_key);
    let issue = || {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(["shop.example".to_owned()]).unwrap();
        let chain = vec![parameters.signed_by(&key, &issuer).unwrap().der().clone()];
        let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Arc::new(CertifiedKey::from_der(chain, der, &default_provider()).unwrap())
    };
    let served = Arc::new(Served(Mutex::new(issue())));
    let mut server = ServerConfig::builder().with_no_client_auth().with_cert_resolver(served.clone());
    server.ticketer = Ticketer::new().unwrap();
    let server = Arc::new(server);
    let trusting = || ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
    let resuming = Arc::new(trusting());
    let mut fresh = trusting();
    fresh.resumption = Resumption::disabled();
    let fresh = Arc::new(fresh);

    let (old, kind) = connect(&resuming, &server);
    println!("first: {kind}");
    *served.0.lock().unwrap() = issue();
    for (who, client) in [("resuming", &resuming), ("fresh", &fresh)] {
        let (shown, kind) = connect(client, &server);
        println!("{who}: {kind}, shows the {} certificate", if shown == old { "old" } else { "new" });
    }
}
END
cargo run --quiet 2>/dev/null | tee said
grep -q '^first: Full' said
grep -q '^resuming: Resumed, shows the old certificate' said
grep -q '^fresh: Full, shows the new certificate' said
echo "as described"
