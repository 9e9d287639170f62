//! Opens connections for outbound requests: looks the name up, asks the policy about every address, and connects to one
//! that it allows. The name is not looked up again, so every address that is connected to was checked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower_service::Service;

use crate::limits;
use crate::manifest::egress::{Destination, Egress, EgressRefusal};
use crate::meter::Meter;

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("look up {host}: {why}")]
    Dns {
        /// The name.
        host: String,
        /// The resolver's message.
        why: String,
    },
    /// The policy does not allow any of its addresses.
    #[error("{0}")]
    Refused(EgressRefusal),
    /// No connection was made in time.
    #[error("no connection within {} s", limits::OUTBOUND_CONNECT_TIMEOUT.as_secs())]
    TimedOut,
    /// All connections that the app or the host may have are in use.
    #[error("all outbound connections are in use")]
    Limit,
    /// The other side, or the network, refused.
    #[error("connect: {0}")]
    Io(Arc<io::Error>),
}

/// Limits for the connections and name lookups of all apps of a host together.
pub struct OutboundBounds {
    connections: Arc<Semaphore>,
    lookups: Semaphore,
}

impl OutboundBounds {
    /// Allows at most `connections` at a time.
    pub fn new(connections: usize) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(connections)),
            lookups: Semaphore::new(limits::OUTBOUND_LOOKUPS_MAX),
        }
    }
}

/// Connects for one app. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    egress: Arc<Egress>,
    host: Arc<OutboundBounds>,
    own_connections: Arc<Semaphore>,
    meter: Arc<Meter>,
}

impl Connector {
    /// A connector that applies the policy `egress`, and the limits of the app and of the `host`.
    pub fn new(egress: Arc<Egress>, host: Arc<OutboundBounds>, meter: Arc<Meter>) -> Self {
        let own_connections = Arc::new(Semaphore::new(limits::OUTBOUND_CONNECTIONS_PER_APP_MAX));
        Self { egress, host, own_connections, meter }
    }

    async fn connect(self, uri: Uri) -> Result<Wire, ConnectError> {
        let permits = (self.permit(&self.own_connections).await?, self.permit(&self.host.connections).await?);
        let no_host = || ConnectError::Dns { host: uri.to_string(), why: "no host".into() };
        let destination = Destination::of(&uri).ok_or_else(no_host)?;
        let addresses = self.allowed_addresses(&destination).await?;
        let stream =
            timeout(limits::OUTBOUND_CONNECT_TIMEOUT, connect_to_first(&addresses, destination.port))
                .await
                .map_err(|_| ConnectError::TimedOut)?
                .map_err(|error| ConnectError::Io(Arc::new(error)))?;
        self.meter.outbound.connections.count();
        Ok(Wire { io: TokioIo::new(stream), _permits: permits })
    }

    async fn permit(&self, bound: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ConnectError> {
        let permit = timeout(limits::OUTBOUND_CONNECT_TIMEOUT, bound.clone().acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or(ConnectError::Limit)
    }

    /// Looks the name up once. Returns the addresses that the policy allows.
    async fn allowed_addresses(&self, destination: &Destination) -> Result<Vec<IpAddr>, ConnectError> {
        let found = match destination.literal() {
            Some(address) => vec![address],
            None => self.look_up(&destination.host).await?,
        };
        let mut refusal = None;
        let allowed: Vec<IpAddr> = found
            .into_iter()
            .filter(|address| match self.egress.may_reach(destination, *address) {
                Ok(()) => true,
                Err(why) => {
                    refusal.get_or_insert(why);
                    false
                }
            })
            .collect();
        match refusal {
            Some(refusal) if allowed.is_empty() => Err(ConnectError::Refused(refusal)),
            _ => Ok(allowed),
        }
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let failed = |why: String| ConnectError::Dns { host: host.to_owned(), why };
        let looked_up = timeout(limits::OUTBOUND_CONNECT_TIMEOUT, async {
            // Each lookup blocks a thread in the system's resolver.
            let _turn = self.host.lookups.acquire().await.map_err(io::Error::other)?;
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok::<_, io::Error>(found.map(|address| address.ip()).collect::<Vec<_>>())
        });
        let found =
            looked_up.await.map_err(|_| ConnectError::TimedOut)?.map_err(|e| failed(e.to_string()))?;
        if found.is_empty() { Err(failed("it has no address".into())) } else { Ok(found) }
    }
}

/// Tries one address after the other. Each but the last is limited to a share of the time.
async fn connect_to_first(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let share: Duration = limits::OUTBOUND_CONNECT_TIMEOUT / (addresses.len() as u32 + 1);
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (index, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        let result = match index + 1 == addresses.len() {
            true => connecting.await,
            false => timeout(share, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        };
        match result {
            Ok(stream) => {
                // Small requests are sent at once. If this cannot be set, they are sent a little later.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// An open connection. It counts towards the limits until it is dropped.
pub struct Wire {
    io: TokioIo<TcpStream>,
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }
}
