//! What is called: an app of the host, or a URL.

use std::fmt;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use ureq::http::Uri;
use wfn_load::Target;
use wfn_manifest::names::AppName;

use crate::client::Client;
use crate::failure::{Done, Failure};

/// What the load goes to.
#[derive(Debug, Clone)]
pub enum Goal {
    /// An app of this host.
    App(AppName),
    /// Anything that speaks HTTP/1.1.
    Url(Uri),
}

impl Goal {
    /// Reads a URL, or else the name of an app.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
            return match (url.scheme_str(), url.host()) {
                (Some("http" | "https"), Some(_)) => Ok(Self::Url(url)),
                _ => Err("use a URL such as http://127.0.0.1:8080/hello".to_owned()),
            };
        }
        AppName::new(text).map(Self::App).map_err(|error| error.to_string())
    }

    /// The app, if it is one.
    pub fn app(&self) -> Option<&AppName> {
        match self {
            Self::App(app) => Some(app),
            Self::Url(_) => None,
        }
    }

    /// Where the load goes; `path` is that below an app.
    pub fn target(&self, client: &Client, path: &str) -> Done<Target> {
        match self {
            Self::Url(url) => target(url, url.path_and_query().map_or("/", |path| path.as_str())),
            Self::App(app) => {
                let functions = client.functions()?;
                let url: Uri = functions.parse().map_err(Failure::new)?;
                target(&url, &format!("/{app}/{}", path.trim_start_matches('/')))
            }
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(app) => app.fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

fn target(url: &Uri, path: &str) -> Done<Target> {
    let is_https = url.scheme_str() == Some("https");
    let host = url.host().unwrap_or_default();
    Ok(Target {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: url.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
        tls: is_https.then(trust).transpose()?,
        authority: url.authority().map_or(host, |authority| authority.as_str()).to_owned(),
        path: path.to_owned(),
    })
}

/// Trusts those whom this machine trusts.
fn trust() -> Done<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Failure::new)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_and_a_url_are_told_apart() {
        assert!(matches!(Goal::parse("hello"), Ok(Goal::App(_))));
        let Ok(Goal::Url(url)) = Goal::parse("http://[::1]:8080/a?b=c") else { panic!("no URL") };
        let target = target(&url, "/a?b=c").unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.authority.as_str()),
            ("::1", 8080, "[::1]:8080")
        );
        for wrong in ["ftp://x", "http://", "Not An App", "://"] {
            assert!(Goal::parse(wrong).is_err(), "{wrong}");
        }
    }
}
