//! The upper limit: a bare hyper server that answers one line of text, or parses a page, and does nothing else.
//!
//! It is as fast as possible: one pinned event loop per core, each with a listener of its own on the same address.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Builder;

/// The answer of the hello guest.
const GREETING: &[u8] = b"Hello from wfn!\n";
/// Connections that may wait to be accepted: as many as at wfn.
const BACKLOG: u32 = 4_096;

/// Arguments of the hidden subcommand.
#[derive(Debug, Args)]
pub struct HyperServer {
    /// Answer what html-parse answers
    #[arg(long)]
    parse: bool,
    /// Answer a line of text after this time, in milliseconds
    #[arg(long, conflicts_with = "parse")]
    delay_ms: Option<u64>,
}

impl HyperServer {
    /// Serves until it is killed.
    pub fn run(&self) -> Result<()> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let first = listen(any_port).context("failed to listen")?;
        let address = first.local_addr()?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut listeners = vec![first];
        for _ in 1..cores {
            listeners.push(listen(address).context("failed to listen")?);
        }
        eprintln!("hyper ready: http://{address}");
        let loops = listeners.into_iter().enumerate().map(|(core, listener)| {
            let (parses, delay) = (self.parse, self.delay_ms.map(Duration::from_millis));
            thread::spawn(move || run_loop(core, listener, parses, delay))
        });
        for event_loop in loops.collect::<Vec<_>>() {
            match event_loop.join() {
                Ok(ended) => ended.context("failed to serve")?,
                Err(_) => anyhow::bail!("an event loop panicked"),
            }
        }
        Ok(())
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    // A tokio listener needs a runtime when it is made. This one is moved to the runtime of its core later.
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn run_loop(
    core: usize,
    listener: std::net::TcpListener,
    parses: bool,
    delay: Option<Duration>,
) -> io::Result<()> {
    pin_to_core(core);
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut http = http1::Builder::new();
                http.pipeline_flush(true);
                let io = TokioIo::new(stream);
                // This fails only if the client has gone, and then there is nobody to tell.
                let _ = if parses {
                    http.serve_connection(io, service_fn(parse)).await
                } else if let Some(delay) = delay {
                    let late = async |request| {
                        tokio::time::sleep(delay).await;
                        greet(request).await
                    };
                    http.timer(TokioTimer::new()).serve_connection(io, service_fn(late)).await
                } else {
                    http.serve_connection(io, service_fn(greet)).await
                };
            });
        }
    })
}

async fn greet(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A body is read to its end, as a guest does. It does not matter if it breaks off.
    while let Some(Ok(_)) = request.body_mut().frame().await {}
    Ok(response("text/plain", Bytes::from_static(GREETING)))
}

/// Does what the html-parse guest does, with the same library.
async fn parse(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let page = request.into_body().collect().await?.to_bytes();
    let counts = html_count::count(&String::from_utf8_lossy(&page));
    // This cannot fail: numbers and a string are always valid in JSON.
    let mut body = serde_json::to_vec(&counts).unwrap_or_default();
    body.push(b'\n');
    Ok(response("application/json", body.into()))
}

fn response(content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let content_type = hyper::header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, content_type);
    response
}

/// Pins the thread to a core, as wfn does with its event loops.
fn pin_to_core(index: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else { return };
    if let Some(cpu) = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).nth(index) {
        let mut one = CpuSet::new();
        one.set(cpu);
        // Without the right to pin, the loop works too.
        let _ = sched_setaffinity(None, &one);
    }
}
