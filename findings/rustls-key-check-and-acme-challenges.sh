#!/usr/bin/env bash
# rustls: the usual way to pair a certificate with its key refuses the certificates of ACME's tls-alpn-01.
#
# One would guess: CertifiedKey::from_der checks that key and certificate belong together, so what passes for a site's certificate passes for
# the self-signed one with which a server answers a tls-alpn-01 check, if that has its right key.
# It is so: the check reads the certificate as a client would, and refuses every critical extension that it does not know. RFC 8737 wants
# acmeIdentifier, and wants it critical. with_single_cert has the same check. CertifiedKey::new does not look, and then the handshake works.
#
# Seen on 2026-12-01 with rustls 0.23.46, rcgen 0.14.10 and ring 0.17 (crates.io).
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
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

fn main() {
    for is_challenge in [false, true] {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(["shop.example".to_owned()]).unwrap();
        if is_challenge {
            parameters.custom_extensions.push(CustomExtension::new_acme_identifier(&[7; 32]));
        }
        let chain = vec![parameters.self_signed(&key).unwrap().der().clone()];
        let der = || PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let checked = CertifiedKey::from_der(chain.clone(), der(), &default_provider());
        let checked = checked.map(|_| "accepted".to_owned()).unwrap_or_else(|error| format!("refused: {error}"));
        let _unchecked = CertifiedKey::new(chain, any_supported_type(&der()).unwrap());
        println!("{}: from_der {checked}; new accepted", if is_challenge { "challenge" } else { "site" });
    }
}
END
cargo run --quiet 2>/dev/null | tee said
grep -q '^site: from_der accepted' said
grep -q '^challenge: from_der refused: .*UnsupportedCriticalExtension' said
echo "as described"
