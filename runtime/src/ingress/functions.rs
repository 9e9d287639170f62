//! The listeners of functions: accepts their connections, with TLS or without, and serves each until it ends.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::event_loop::EventLoops;
use crate::ingress::body::RequestBody;
use crate::ingress::connection;
use crate::ingress::handshake::Handshakes;
use crate::ingress::http::{Client, Served};
use crate::ingress::listener::{self, Connections};
use crate::ingress::stream::Stream;
use crate::ingress::watch::{Guarded, Watch, Watches};

/// What serves functions, on all their listeners.
pub struct Functions {
    /// What answers requests.
    pub served: Arc<Served>,
    /// The time limits of connections.
    pub watches: Arc<Watches>,
    /// What runs connections.
    pub loops: Arc<EventLoops>,
    /// How many there are.
    pub connections: Arc<Connections>,
}

impl Functions {
    /// Accepts on `listener` until `stop` changes, with TLS if there are `handshakes`.
    pub async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        handshakes: Option<Arc<Handshakes>>,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let (loops, connections) = (self.loops.clone(), self.connections.clone());
        let stopped = stop.clone();
        let serve = move |stream, peer| self.clone().serve(stream, peer, handshakes.clone(), stopped.clone());
        listener::accept(listener, loops, connections, stop, serve).await
    }

    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        handshakes: Option<Arc<Handshakes>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let local = stream.local_addr().ok();
        let is_secure = handshakes.is_some();
        let stream = match handshakes {
            None => Stream::Plain(stream),
            Some(handshakes) => tokio::select! {
                shaken = Box::pin(handshakes.shake(stream)) => match shaken {
                    Some(stream) => stream,
                    None => return,
                },
                // A host that ends waits for requests, not for clients that have sent none.
                _ = stop.changed() => return,
            },
        };
        let client = Arc::new(Client::new(self.served.clone(), peer, local, is_secure));
        let service = |watch: Arc<Watch>| {
            service_fn(move |request: http::Request<_>| {
                let active = watch.begin(request.version());
                let (client, watch) = (client.clone(), watch.clone());
                let (request, body) = RequestBody::take_from(request, &watch);
                async move {
                    let response = client.answer(request, body, &watch).await;
                    Ok::<_, Infallible>(response.map(|body| Guarded::new(body, active)))
                }
            })
        };
        connection::serve(stream, &self.watches, service).await;
    }
}
