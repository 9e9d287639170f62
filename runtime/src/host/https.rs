//! The HTTPS listener of a host: its certificates, from files and from an authority, and what keeps them fresh.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crate::acme::Acme;
use crate::acme::store::Store;
use crate::app::LiveRoutes;
use crate::capability::secrets::SecretKey;
use crate::config::HttpsConfig;
use crate::ingress::handshake::Handshakes;
use crate::persist::db::Db;
use crate::persist::error::DbError;
use crate::tls::certificates::Certificates;
use crate::tls::challenges::Challenges;
use crate::tls::files::{CertificateFiles, FileError};

/// Why there can be no HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The certificates cannot be served.
    #[error("read the certificates: {0}")]
    Files(#[from] FileError),
    /// TLS cannot be configured.
    #[error("configure TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Its address is unknown.
    #[error("listen for HTTPS: {0}")]
    Listen(#[from] std::io::Error),
}

/// A listener that serves nobody yet.
pub struct Https {
    /// Where it listens.
    pub address: SocketAddr,
    /// The bound socket.
    pub listener: TcpListener,
    /// What it shows.
    pub certificates: Arc<Certificates>,
    /// What it answers to authorities.
    pub challenges: Arc<Challenges>,
    /// Its handshakes.
    pub handshakes: Arc<Handshakes>,
    /// The operator's certificates, if there are.
    pub files: Option<CertificateFiles>,
}

impl Https {
    /// Reads the operator's certificates, for `listener`.
    pub fn open(config: &HttpsConfig, listener: TcpListener) -> Result<Self, HttpsError> {
        let (certificates, challenges) = (Arc::<Certificates>::default(), Arc::<Challenges>::default());
        let open = |place| CertificateFiles::open(place, certificates.clone());
        let files = config.certificates.clone().map(open).transpose()?;
        let handshakes = Handshakes::new(certificates.clone(), challenges.clone())?;
        let address = listener.local_addr()?;
        Ok(Self { address, listener, certificates, challenges, handshakes, files })
    }

    /// Reads the certificates that an authority has given, if one is configured.
    pub async fn acme(
        &self,
        config: &HttpsConfig,
        db: Arc<Db>,
        key: Arc<SecretKey>,
        routes: Arc<LiveRoutes>,
    ) -> Result<Option<Arc<Acme>>, DbError> {
        let Some(acme) = config.acme.clone() else { return Ok(None) };
        let store = Store::new(db, key, acme.directory.clone());
        let claimed = move || routes.load().hosts().map(str::to_owned).collect();
        let (challenges, certificates) = (self.challenges.clone(), self.certificates.clone());
        Acme::open(acme, store, challenges, certificates, Box::new(claimed)).await.map(Some)
    }
}
