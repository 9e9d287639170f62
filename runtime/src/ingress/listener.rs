//! Listening sockets: accepts connections and gives each to the event loop with the fewest.
//!
//! One thread accepts for all loops. Keep-alive connections are then spread evenly and exactly, which
//! SO_REUSEPORT's hashing does not do, and a second host on the same port is refused as it should be.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::event_loop::EventLoops;
use crate::limits;

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
    /// Counts no connections yet on `loops` event loops. There will never be more than `most`.
    pub fn new(loops: usize, most: usize) -> Arc<Self> {
        Arc::new(Self { most, per_loop: std::iter::repeat_with(AtomicUsize::default).take(loops).collect() })
    }

    /// Returns how many are open.
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
    // The standard library's backlog of 128 is too small for a burst of 1,000 clients.
    rustix::net::listen(&listener, 4_096)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts connections. Ignores errors of a single connection; pauses while descriptors or memory are short.
pub struct Acceptor {
    listener: TcpListener,
    /// When a shortage was last logged.
    said: Option<Instant>,
}

impl Acceptor {
    /// Accepts from `listener`, on the present runtime.
    pub fn new(listener: StdListener) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(listener)?, said: None })
    }

    /// The next connection.
    pub async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let error = match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Answers of several parts would wait for the client's delayed acknowledgement. A client that is gone
                    // already fails here, and again where it is served.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer);
                }
                Err(error) => error,
            };
            let pause = pause_after(&error);
            if pause.is_zero() {
                continue;
            }
            let now = Instant::now();
            if self.said.is_none_or(|said| now - said >= SAID_PERIOD) {
                self.said = Some(now);
                tracing::warn!("connections wait: {error}");
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// Returns how long nothing is accepted after `error`. Not at all if only the client that was about to connect is gone (accept(2)
/// has a list). For a while if descriptors or memory are short, because the next attempt would fail, too.
fn pause_after(error: &io::Error) -> Duration {
    match error.kind() {
        ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::HostUnreachable
        | ErrorKind::Interrupted
        | ErrorKind::NetworkDown
        | ErrorKind::NetworkUnreachable => Duration::ZERO,
        _ => limits::ACCEPT_PAUSE,
    }
}

/// How often it is logged that connections wait.
const SAID_PERIOD: Duration = Duration::from_secs(60);

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
    let mut acceptor = Acceptor::new(listener)?;
    loop {
        let (stream, peer) = tokio::select! {
            accepted = next(&mut acceptor, &connections) => accepted,
            _ = stop.changed() => return Ok(()),
        };
        // Taken off this thread's event loop, to be registered with the one that serves it.
        let Ok(stream) = stream.into_std() else { continue };
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

async fn next(acceptor: &mut Acceptor, connections: &Connections) -> (TcpStream, SocketAddr) {
    while connections.open() >= connections.most {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    acceptor.next().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_waited_for_and_who_is_gone_is_not() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EINVAL] {
            assert_eq!(pause_after(&io::Error::from_raw_os_error(errno)), limits::ACCEPT_PAUSE, "{errno}");
        }
        for errno in [libc::ECONNABORTED, libc::ECONNRESET, libc::ENETDOWN, libc::EINTR] {
            assert!(pause_after(&io::Error::from_raw_os_error(errno)).is_zero(), "{errno}");
        }
    }
}
