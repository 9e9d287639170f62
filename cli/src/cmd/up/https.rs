//! The flags of `wfn up` for HTTPS: where, and with which certificates.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use ureq::http::Uri;
use wfn_runtime::acme::AcmeConfig;
use wfn_runtime::config::HttpsConfig;
use wfn_runtime::tls::files::{Pair, Place};

use super::address::address;
use crate::failure::{Failure, WhileDoing};

/// Where functions answer over TLS, and with what.
#[derive(Debug, Args)]
pub struct Https {
    /// Where functions answer over HTTPS (HTTP/2 and HTTP/1.1, TLS 1.2 and 1.3); port 0 picks one
    #[arg(long, value_name = "ADDR", env = "WFN_HTTPS", value_parser = address, hide_env_values = true)]
    https: Option<SocketAddr>,

    /// Certificate for HTTPS with its chain, as PEM; read again when it changes
    #[arg(
        long,
        value_name = "FILE",
        env = "WFN_TLS_CERT",
        requires = "tls_key",
        requires = "https",
        hide_env_values = true
    )]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, as PEM without a passphrase
    #[arg(long, value_name = "FILE", env = "WFN_TLS_KEY", requires = "tls_cert", hide_env_values = true)]
    tls_key: Option<PathBuf>,

    /// Folder of certificates for HTTPS, one for each host name: NAME.crt and NAME.key, or NAME/fullchain.pem and
    /// NAME/privkey.pem; read again when they change
    #[arg(
        long,
        value_name = "DIR",
        env = "WFN_TLS_CERTS",
        requires = "https",
        conflicts_with = "tls_cert",
        hide_env_values = true
    )]
    tls_certs: Option<PathBuf>,

    /// Authority that gives certificates by ACME for the host names that apps claim: letsencrypt, letsencrypt-staging, or the
    /// URL of its directory. Whoever uses it agrees to its terms
    #[arg(long, value_name = "WHO", env = "WFN_ACME", requires = "https", value_parser = directory, hide_env_values = true)]
    acme: Option<String>,

    /// Mail address that the authority may write to
    #[arg(long, value_name = "MAIL", env = "WFN_ACME_CONTACT", requires = "acme", hide_env_values = true)]
    acme_contact: Option<String>,

    /// Roots, as PEM, that the authority's own certificate is checked with [default: those of the system]
    #[arg(long, value_name = "FILE", env = "WFN_ACME_CA", requires = "acme", hide_env_values = true)]
    acme_ca: Option<PathBuf>,

    /// Send requests without TLS to HTTPS (308)
    #[arg(long, env = "WFN_HTTPS_REDIRECT", requires = "https", hide_env_values = true)]
    https_redirect: bool,
}

/// Takes the URL of an authority's directory, or the name of one.
fn directory(text: &str) -> Result<String, String> {
    match text {
        "letsencrypt" => Ok("https://acme-v02.api.letsencrypt.org/directory".to_owned()),
        "letsencrypt-staging" => Ok("https://acme-staging-v02.api.letsencrypt.org/directory".to_owned()),
        url if url.starts_with("https://") && url.parse::<Uri>().is_ok() => Ok(url.to_owned()),
        _ => Err("use letsencrypt, letsencrypt-staging, or a URL such as https://ca.example.com/directory"
            .to_owned()),
    }
}

impl Https {
    /// Returns what is configured, or says what is missing.
    pub fn config(&self) -> Result<Option<HttpsConfig>, Failure> {
        let Some(listen) = self.https else { return Ok(None) };
        let certificates = match (&self.tls_cert, &self.tls_key, &self.tls_certs) {
            (Some(chain), Some(key), _) => Some(Place::Pair(Pair { chain: chain.clone(), key: key.clone() })),
            (_, _, Some(folder)) => Some(Place::Folder(folder.clone())),
            _ => None,
        };
        if certificates.is_none() && self.acme.is_none() {
            let message = "--https needs certificates: --tls-cert FILE and --tls-key FILE, or --tls-certs DIR, or \
                           --acme letsencrypt";
            return Err(Failure::new(message));
        }
        let read = |file: &PathBuf| {
            std::fs::read(file).map_err(Failure::new).while_doing(|| format!("read {}", file.display()))
        };
        let acme = match &self.acme {
            None => None,
            Some(directory) => Some(AcmeConfig {
                directory: directory.clone(),
                contact: self.acme_contact.as_ref().map(|mail| format!("mailto:{mail}")),
                roots: self.acme_ca.as_ref().map(read).transpose()?,
            }),
        };
        Ok(Some(HttpsConfig { listen, certificates, acme, redirect: self.https_redirect }))
    }
}
