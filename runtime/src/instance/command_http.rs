//! HTTP for programs of WASI preview 1, which has no way to open a connection: five functions of our own, in the import
//! module `wfn_http`.
//!
//! A connection is a stream of bytes that leads to the host, which speaks HTTP/1.1 on it as a server does: the program
//! writes requests and reads responses, with the HTTP client of its language or by hand. Where a request goes is what
//! its `Host` says. It takes the way of every guest's requests (`Capabilities::send`), to what the manifest grants and
//! `http://wfn.internal`. With `tls` it is an `https` request, and the host encrypts it.
//!
//! No function except `wait` blocks, so that one thread can serve many connections.
//!
//! | function | gives |
//! |---|---|
//! | `connect(tls: i32) -> i32` | the connection, from 0 |
//! | `write(connection, bytes, length) -> i32` | how many bytes were taken |
//! | `read(connection, buffer, length) -> i32` | how many bytes came; 0 at the end |
//! | `wait(milliseconds: i32) -> i32` | 0 once one of the connections that said [`AGAIN`] can go on, or when the time is over; a negative time is without end |
//! | `close(connection) -> i32` | 0 |
//!
//! Negative values are errors: [`AGAIN`], [`NO_SUCH_CONNECTION`], [`TOO_MANY`], [`BROKEN`].

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;
use wasmtime::{Caller, Extern, Linker};
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error as HttpError, WasiBody};

use crate::capability::Capabilities;
use crate::capability::response::refused;
use crate::limits;
use crate::meter::output::GuestOutput;
use crate::refusal::Refusal;
use crate::request::Origin;

/// The import module.
const MODULE: &str = "wfn_http";

/// Nothing has come yet, or there is no room: call `wait`.
const AGAIN: i32 = -1;
/// No connection has this number.
const NO_SUCH_CONNECTION: i32 = -2;
/// The program has [`limits::COMMAND_CONNECTIONS_MAX`] connections already.
const TOO_MANY: i32 = -3;
/// The connection takes no more.
const BROKEN: i32 = -4;

/// The connections of one program.
pub struct Connections {
    way_out: WayOut,
    /// By number. A closed connection leaves a gap.
    open: Vec<Option<Connection>>,
}

/// What is needed to send a request of the program.
#[derive(Clone)]
struct WayOut {
    capabilities: Arc<Capabilities>,
    output: GuestOutput,
    origin: Origin,
}

struct Connection {
    stream: UnixStream,
    /// The connection answered [`AGAIN`] to the last read.
    waits_to_read: bool,
    waits_to_write: bool,
}

impl Connections {
    /// Has no connections yet. The program may use `capabilities`; `origin` is where its request came from.
    pub fn new(capabilities: Arc<Capabilities>, output: GuestOutput, origin: Origin) -> Self {
        Self { way_out: WayOut { capabilities, output, origin }, open: Vec::new() }
    }

    fn connect(&mut self, tls: bool) -> io::Result<i32> {
        let gap = self.open.iter().position(Option::is_none).unwrap_or(self.open.len());
        if gap == limits::COMMAND_CONNECTIONS_MAX {
            return Ok(TOO_MANY);
        }
        let (stream, theirs) = UnixStream::pair()?;
        tokio::spawn(serve(theirs, self.way_out.clone(), if tls { "https" } else { "http" }));
        if gap == self.open.len() {
            self.open.push(None);
        }
        self.open[gap] = Some(Connection { stream, waits_to_read: false, waits_to_write: false });
        Ok(i32::try_from(gap).unwrap_or(TOO_MANY))
    }

    fn get(&mut self, number: i32) -> Option<&mut Connection> {
        self.open.get_mut(usize::try_from(number).ok()?)?.as_mut()
    }

    fn close(&mut self, number: i32) -> i32 {
        let place = usize::try_from(number).ok().and_then(|number| self.open.get_mut(number));
        if place.and_then(Option::take).is_some() { 0 } else { NO_SUCH_CONNECTION }
    }

    fn poll_any(&self, context: &mut Context<'_>) -> Poll<()> {
        // All are polled, so that each of them can wake the program.
        let ready = self.open.iter().flatten().filter(|connection| connection.poll(context).is_ready());
        if ready.count() > 0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Connection {
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let read = self.waits_to_read && self.stream.poll_read_ready(context).is_ready();
        let write = self.waits_to_write && self.stream.poll_write_ready(context).is_ready();
        if read || write { Poll::Ready(()) } else { Poll::Pending }
    }

    fn read(&mut self, buffer: &mut [u8]) -> i32 {
        let read = self.stream.try_read(buffer);
        self.waits_to_read = is_again(&read);
        counted(read)
    }

    fn write(&mut self, bytes: &[u8]) -> i32 {
        let written = self.stream.try_write(bytes);
        self.waits_to_write = is_again(&written);
        counted(written)
    }
}

fn is_again(done: &io::Result<usize>) -> bool {
    done.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn counted(done: io::Result<usize>) -> i32 {
    match done {
        Ok(count) => i32::try_from(count).unwrap_or(i32::MAX),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => AGAIN,
        Err(_) => BROKEN,
    }
}

/// The data of a store whose guest has connections.
pub trait Connects {
    /// Returns its connections; `None` before it has a request.
    fn connections(&mut self) -> Option<&mut Connections>;
}

/// Adds these functions to `linker`.
pub fn add_to_linker<T: Connects + Send + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "connect", |mut caller: Caller<'_, T>, tls: i32| {
        let Some(connections) = caller.data_mut().connections() else { return Ok(BROKEN) };
        connections.connect(tls != 0).map_err(wasmtime::Error::from)
    })?;
    linker.func_wrap(
        MODULE,
        "read",
        |mut caller: Caller<'_, T>, number: i32, buffer: i32, length: i32| {
            with_bytes(&mut caller, number, buffer, length, Connection::read)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "write",
        |mut caller: Caller<'_, T>, number: i32, bytes: i32, length: i32| {
            with_bytes(&mut caller, number, bytes, length, |connection, bytes| connection.write(bytes))
        },
    )?;
    linker.func_wrap_async(MODULE, "wait", |mut caller: Caller<'_, T>, (milliseconds,): (i32,)| {
        Box::new(async move {
            let Some(connections) = caller.data_mut().connections() else { return 0 };
            let any = std::future::poll_fn(|context| connections.poll_any(context));
            match u64::try_from(milliseconds) {
                // Without a time limit, the deadline of the invocation ends the wait.
                Err(_) => any.await,
                Ok(milliseconds) => {
                    let _ = timeout(Duration::from_millis(milliseconds), any).await;
                }
            }
            0
        })
    })?;
    linker.func_wrap(MODULE, "close", |mut caller: Caller<'_, T>, number: i32| {
        caller.data_mut().connections().map_or(NO_SUCH_CONNECTION, |connections| connections.close(number))
    })?;
    Ok(())
}

/// Runs a function with a connection and bytes of the program's memory. An address outside of that memory is a trap.
fn with_bytes<T: Connects + 'static>(
    caller: &mut Caller<'_, T>,
    number: i32,
    start: i32,
    length: i32,
    act: impl FnOnce(&mut Connection, &mut [u8]) -> i32,
) -> wasmtime::Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        wasmtime::bail!("the program exports no memory");
    };
    let (memory, guest) = memory.data_and_store_mut(caller);
    // Addresses and lengths are unsigned.
    let start = start.cast_unsigned() as usize;
    let end = start + length.cast_unsigned() as usize;
    let bytes = memory.get_mut(start..end).ok_or_else(|| {
        wasmtime::Error::msg(format!("{MODULE}: bytes {start} to {end} are outside of the memory"))
    })?;
    Ok(match guest.connections().and_then(|connections| connections.get(number)) {
        Some(connection) => act(connection, bytes),
        None => NO_SUCH_CONNECTION,
    })
}

/// Answers the requests of one connection until the program closes it.
async fn serve(stream: UnixStream, way_out: WayOut, scheme: &'static str) {
    let service = service_fn(|request| {
        let way_out = way_out.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&way_out, scheme, request).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.max_buf_size(limits::HEAD_BYTES_MAX).max_headers(limits::HEADERS_MAX);
    // The program has already read what was wrong with its requests.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(way_out: &WayOut, scheme: &str, mut request: Request<Incoming>) -> Response<WasiBody> {
    let Some(uri) = destination(scheme, &request) else {
        let message = "the request has no header Host that names a server";
        return refused(Refusal::new(StatusCode::BAD_REQUEST, "bad-request", message));
    };
    *request.uri_mut() = uri;
    remove_hops(request.headers_mut());
    let request = request.map(|body| body.map_err(HttpError::Hyper).boxed_unsync());
    match way_out.capabilities.send(request, None, &way_out.output, way_out.origin.clone()).await {
        Ok(mut response) => {
            remove_hops(response.headers_mut());
            response
        }
        Err(error) => refused(refusal(&error)),
    }
}

/// Returns the full URI of the request. A target that is a full URI, as with a proxy, is taken as it is.
fn destination(scheme: &str, request: &Request<Incoming>) -> Option<Uri> {
    let uri = request.uri();
    if uri.scheme().is_some() && uri.authority().is_some() {
        return Some(uri.clone());
    }
    let host = request.headers().get(http::header::HOST)?.to_str().ok()?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder().scheme(scheme).authority(host).path_and_query(path).build().ok()
}

/// Removes the header fields that concern only this connection.
fn remove_hops(headers: &mut HeaderMap) {
    for name in &DEFAULT_FORBIDDEN_HEADERS {
        headers.remove(name);
    }
}

fn refusal(error: &HttpError) -> Refusal {
    match error {
        HttpError::HttpRequestDenied | HttpError::DestinationIpProhibited => {
            let message = "the app may not send this request; its log says what would allow it";
            Refusal::new(StatusCode::FORBIDDEN, "outbound-refused", message)
        }
        error => Refusal::new(StatusCode::BAD_GATEWAY, "outbound-failed", format!("{error:?}")),
    }
}
