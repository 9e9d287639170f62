//! A server for tests: it answers as a test says, and counts.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request that came.
pub struct Asked {
    /// Counted from 1, over all connections.
    pub number: u64,
    /// Its head, as it came.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// What is sent back, and whether the connection stays open.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The connection stays open.
    Keep(String),
    /// It is closed.
    Close(String),
}

/// Serves until the test process ends.
pub struct Server {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Server {
    /// A server on a free port that answers each request with what `answer` returns.
    pub fn start(answer: impl Fn(&Asked) -> Reply + Clone + Send + 'static) -> Self {
        Self::listen(answer, |stream| stream)
    }

    /// The same behind TLS. Connections wait at `gate` before the handshake.
    pub fn start_tls(
        config: ServerConfig,
        gate: Gate,
        answer: impl Fn(&Asked) -> Reply + Clone + Send + 'static,
    ) -> Self {
        let config = Arc::new(config);
        Self::listen(answer, move |stream| {
            gate.pass();
            StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream)
        })
    }

    /// A port on which nothing listens.
    pub fn unused_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Requests that came completely.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::SeqCst)
    }

    fn listen<S: Read + Write + Send + 'static>(
        answer: impl Fn(&Asked) -> Reply + Clone + Send + 'static,
        wrap: impl Fn(std::net::TcpStream) -> S + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let server = Self { port, counts: counts.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                counts.connections.fetch_add(1, Ordering::SeqCst);
                let (counts, answer, stream) = (counts.clone(), answer.clone(), wrap(stream));
                thread::spawn(move || serve(stream, &counts, answer));
            }
        });
        server
    }
}

/// Serves one connection until either side closes it.
fn serve(stream: impl Read + Write, counts: &Counts, answer: impl Fn(&Asked) -> Reply) {
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = receive(&mut stream) {
        let number = counts.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let (text, stays) = match answer(&Asked { number, head, body }) {
            Reply::Keep(text) => (text, true),
            Reply::Close(text) => (text, false),
        };
        let sent = stream.get_mut().write_all(text.as_bytes()).and_then(|()| stream.get_mut().flush());
        if sent.is_err() || !stays {
            return;
        }
    }
}

/// The next request; `None` if the client has gone.
fn receive(stream: &mut BufReader<impl Read>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// Makes those who want to pass wait until it is opened. It stays open.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A gate that is open.
    pub fn opened() -> Self {
        let gate = Self::default();
        gate.open();
        gate
    }

    /// Opens it for all.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open.
    pub fn pass(&self) {
        let is_open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(is_open, |is_open| !*is_open).unwrap());
    }
}
