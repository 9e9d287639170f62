//! Listening sockets: accepts connections and gives each to the event loop with the fewest.
//!
//! One thread accepts for all loops. Keep-alive connections are then spread evenly and exactly, which
//! SO_REUSEPORT's hashing does not do, and a second host on the same port is refused as it should be.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::event_loop::EventLoops;

/// Open connections per event loop.
pub struct Connections {
    most: usize,
    per_loop: Vec<AtomicUsize>,
}

/// Counts one connection of one loop until it is dropped.
struct Counted {
    connections: Arc<Connections>,
    index: usize,
}

impl Connections {
    /// No connections on `loops` event loops yet, and never more than `most`.
    pub fn new(loops: usize, most: usize) -> Arc<Self> {
        Arc::new(Self { most, per_loop: std::iter::repeat_with(AtomicUsize::default).take(loops).collect() })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.per_loop.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn add_to_least(self: &Arc<Self>) -> Counted {
        let least = self.per_loop.iter().enumerate().min_by_key(|(_, count)| count.load(Ordering::Relaxed));
        let index = least.map_or(0, |(index, _)| index);
        self.per_loop[index].fetch_add(1, Ordering::Relaxed);
        Counted { connections: self.clone(), index }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.per_loop[self.index].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Binds `address` for accepting.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address)?;
    // The standard library's backlog of 128 is short of a burst of 1,000 clients.
    rustix::net::listen(&listener, 4_096)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts until `stop` changes; `serve` makes the task of one connection.
pub async fn accept<F>(
    listener: StdListener,
    loops: Arc<EventLoops>,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
    serve: impl Fn(TcpStream, SocketAddr) -> F + Clone + Send + 'static,
) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::from_std(listener)?;
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener, &connections) => accepted,
            _ = stop.changed() => return Ok(()),
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the client was gone already: the next one may fare better.
                tracing::debug!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let counted = connections.add_to_least();
        let serve = serve.clone();
        loops.spawn_on(counted.index, async move {
            // Registered here, with the event loop that will serve it.
            if let Ok(stream) = TcpStream::from_std(stream) {
                serve(stream, peer).await;
            }
            drop(counted);
        });
    }
}

async fn next(listener: &TcpListener, connections: &Connections) -> io::Result<(StdStream, SocketAddr)> {
    while connections.open() >= connections.most {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    // Off this thread's event loop, to be registered with the one that serves it.
    Ok((stream.into_std()?, peer))
}
