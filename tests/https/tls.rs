//! What tests of TLS need: certificates, and clients that choose what they say in the handshake.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tokio_rustls::{TlsConnector, client};

use crate::harness::PATIENCE;

/// An authority that clients of the tests trust.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = parameters.self_signed(&key).unwrap();
        Self { root: root.der().clone(), pem: root.pem(), issuer: Issuer::new(parameters, key) }
    }

    /// A certificate for `names` and its key, both as PEM.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Puts one into the files NAME.crt and NAME.key of `folder`; gives the paths of both.
    pub fn issue_into(&self, folder: &Path, name: &str, names: &[&str]) -> [String; 2] {
        let (chain, key) = self.issue(names);
        [(chain, "crt"), (key, "key")].map(|(text, kind)| {
            let (path, new) = (folder.join(format!("{name}.{kind}")), folder.join(format!(".{name}.{kind}")));
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, &path).unwrap();
            path.to_str().unwrap().to_owned()
        })
    }

    /// Its own certificate, as PEM.
    pub fn root_pem(&self) -> &str {
        &self.pem
    }

    /// The configuration of a client that trusts it.
    pub fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(roots([self.root.clone()]))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

fn roots(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    certificates.into_iter().for_each(|root| roots.add(root).unwrap());
    roots
}

/// The configuration of a client that trusts the certificates of `pem`, and resumes no session.
pub fn client_of_pem(pem: &str) -> Arc<ClientConfig> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap);
    let mut config =
        ClientConfig::builder().with_root_certificates(roots(certificates)).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// One connection over TLS.
pub struct Secure {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Secure {
    /// Opens a connection to `address` and asks for `name`.
    pub fn open(config: &Arc<ClientConfig>, address: &str, name: &str) -> std::io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(config.clone(), name).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Self { stream })
    }

    /// Asks for a path of `host` on a connection that then ends; gives the whole answer.
    pub fn get(mut self, host: &str, path: &str) -> std::io::Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        self.stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The certificate that the host has shown.
    pub fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }
}

/// Opens a connection for an asynchronous client.
pub async fn connect(
    config: &Arc<ClientConfig>,
    address: &str,
    name: &str,
) -> client::TlsStream<tokio::net::TcpStream> {
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config.clone()).connect(name, socket).await.unwrap()
}

/// Listens without TLS and passes all on over TLS: so that clients who know none reach the HTTPS listener at `address`. Gives its own
/// address. Ends with the test's process.
pub fn tunnel(config: Arc<ClientConfig>, address: &str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (own, address) = (listener.local_addr().unwrap().to_string(), address.to_owned());
    listener.set_nonblocking(true).unwrap();
    let pass = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (config, address) = (config.clone(), address.clone());
            tokio::spawn(async move {
                let mut host = connect(&config, &address, "localhost").await;
                // An end with an error is what the client sees, too.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut host).await;
            });
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || runtime.block_on(pass));
    own
}
