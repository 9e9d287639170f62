//! A worker for programs of WASI preview 1: one process that answers one invocation as a CGI program does. The
//! request comes in environment variables and on stdin, the response goes out on stdout, stderr is the log.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use wasmtime::{Engine, Linker, Store};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{I32Exit, WasiCtx};

use crate::budget::memory::WorkerMemory;
use crate::capability::Capabilities;
use crate::capability::scratch::Scratch;
use crate::descriptors::FileLease;
use crate::instance::call::{Call, Head};
use crate::instance::cgi;
use crate::instance::command_http::{self, Connections, Connects};
use crate::instance::guest::open_files::{self, OpensFiles};
use crate::instance::guest::outgoing_body::has_no_content;
use crate::instance::limiter::Limiter;
use crate::instance::pipe::{PipeWriter, pipe};
use crate::instance::sandbox::{self, Sandboxed};
use crate::invocation::{BodyError, Fault, Outcome};
use crate::limits;
use crate::manifest::ScalePolicy;
use crate::meter::output::GuestOutput;
use crate::request::GuestBody;

/// What a program is told its name is.
const PROGRAM_NAME: &str = "function";

/// The data of one command's store.
pub struct CommandGuest {
    wasi: WasiP1Ctx,
    scratch: Option<Arc<Scratch>>,
    connections: Option<Connections>,
    files: FileLease,
    /// Files that it has open.
    opened: u32,
    limiter: Limiter,
    deadline: Instant,
}

impl CommandGuest {
    /// Store data of a command that has not been given its request yet and may use `scratch` and `files`.
    pub fn new(scratch: Option<Arc<Scratch>>, files: FileLease, limiter: Limiter, deadline: Instant) -> Self {
        let wasi = WasiCtx::builder().build_p1();
        Self { wasi, scratch, connections: None, files, opened: 0, limiter, deadline }
    }
}

impl OpensFiles for CommandGuest {
    fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.wasi
    }

    fn files(&mut self) -> (&mut FileLease, &mut u32) {
        (&mut self.files, &mut self.opened)
    }
}

impl Connects for CommandGuest {
    fn connections(&mut self) -> Option<&mut Connections> {
        self.connections.as_mut()
    }
}

impl Sandboxed for CommandGuest {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }

    fn is_overdue(&self, now: Instant) -> bool {
        now >= self.deadline
    }
}

/// A linker with the functions of WASI preview 1 and those of [`command_http`].
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<CommandGuest>> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |guest: &mut CommandGuest| &mut guest.wasi)?;
    open_files::add_to_p1_linker(&mut linker)?;
    command_http::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// One process that has not run yet, or is running.
pub struct Worker {
    command: wasmtime::Instance,
    store: Store<CommandGuest>,
    output: GuestOutput,
    capabilities: Arc<Capabilities>,
    response: Response,
}

impl Worker {
    /// A worker that was just instantiated in `store` and may use `capabilities`.
    pub fn new(
        command: wasmtime::Instance,
        store: Store<CommandGuest>,
        output: GuestOutput,
        capabilities: Arc<Capabilities>,
    ) -> Self {
        Self { command, store, output, capabilities, response: Response::default() }
    }

    /// Runs the program from `_start` to its exit.
    pub async fn handle(&mut self, call: Call, policy: &ScalePolicy) -> Result<(), Fault> {
        let Call { invocation, request, origin, deadline, head } = call;
        self.output.begin(invocation);
        let (parts, body) = request.into_parts();
        let body = measured(body).await?;
        let variables = cgi::variables(&parts, body.size_hint().exact());
        self.response = Response::new(head, parts.method == http::Method::HEAD);
        // Set by the host, so that settings of the app cannot replace what it says about the request.
        let guest = self.store.data_mut();
        let wasi = self.capabilities.wasi(&self.output, &variables, guest.scratch.as_deref());
        guest.deadline = deadline;
        guest.connections = Some(Connections::new(self.capabilities.clone(), self.output.clone(), origin));
        guest.wasi = wasi
            .map_err(|error| Fault {
                outcome: Outcome::StartFailed(error.to_string()),
                detail: format!("{error:?}"),
            })?
            .arg(PROGRAM_NAME)
            .stdin(Stdin(Mutex::new(Some(body))))
            .stdout(self.response.clone())
            .build_p1();
        sandbox::allow(&mut self.store);
        let ended = match self.command.get_typed_func::<(), ()>(&mut self.store, "_start") {
            Ok(start) => start.call_async(&mut self.store, ()).await,
            Err(error) => Err(error),
        };
        self.output.end(invocation);
        self.conclude(ended, policy)
    }

    /// Makes the result from how the program ended and what it wrote. The response's body ends only if all is well. Otherwise the
    /// caller reports the fault first.
    fn conclude(&mut self, ended: wasmtime::Result<()>, policy: &ScalePolicy) -> Result<(), Fault> {
        if let Err(error) = &ended {
            if let Some(fault) = self.response.refusal() {
                return Err(fault);
            }
            match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(0)) => {}
                Some(I32Exit(code)) => {
                    let detail = format!("the program exited with code {code}");
                    return Err(Fault::invalid_response("the program exited with an error", detail));
                }
                None => return Err(sandbox::call_fault(error, &mut self.store.data_mut().limiter, policy)),
            }
        }
        self.response.finish()
    }

    /// What it holds.
    pub fn memory(&self) -> &WorkerMemory {
        self.store.data().limiter.memory()
    }
}

/// Returns `body` with its length, which a program must know before it reads. A body without a length is read whole.
async fn measured(mut body: GuestBody) -> Result<GuestBody, Fault> {
    if body.size_hint().exact().is_some() {
        return Ok(body);
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // The client's connection knows better what happened, and its answer says so.
        let frame = frame.map_err(|error| Fault {
            outcome: Outcome::BadBody(BodyError::Broken),
            detail: format!("the request's body failed: {error:?}"),
        })?;
        whole.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        if whole.len() > limits::COMMAND_BODY_BYTES_MAX {
            return Err(Fault::plain(Outcome::BadBody(BodyError::LengthRequired)));
        }
    }
    Ok(Full::new(whole.freeze()).map_err(|never| match never {}).boxed_unsync())
}

/// The program's stdout: becomes the response's head, then its body.
#[derive(Clone, Default)]
struct Response(Arc<Mutex<ResponseState>>);

#[derive(Default)]
enum ResponseState {
    /// The head is not complete.
    Head { bytes: Vec<u8>, head: oneshot::Sender<Head>, for_head: bool },
    /// The head was handed over.
    Body(PipeWriter),
    /// What it wrote is no response.
    Refused(cgi::NoHead),
    #[default]
    Ended,
}

impl Response {
    /// `for_head` if a HEAD is answered.
    fn new(head: oneshot::Sender<Head>, for_head: bool) -> Self {
        Self(Arc::new(Mutex::new(ResponseState::Head { bytes: Vec::new(), head, for_head })))
    }

    fn refusal(&self) -> Option<Fault> {
        match &*self.0.lock() {
            ResponseState::Refused(no_head) => Some(refused(no_head)),
            _ => None,
        }
    }

    /// Ends the body, if one was begun: the program has exited normally, so it is whole.
    fn finish(&self) -> Result<(), Fault> {
        match std::mem::take(&mut *self.0.lock()) {
            ResponseState::Head { bytes, .. } if bytes.is_empty() => Err(Fault::plain(Outcome::NoResponse)),
            ResponseState::Head { .. } => {
                let why = "the program's output ended before the empty line that ends the header lines";
                Err(Fault::invalid_response(why, why.to_owned()))
            }
            ResponseState::Refused(no_head) => Err(refused(&no_head)),
            ResponseState::Body(_) | ResponseState::Ended => Ok(()),
        }
    }

    fn take(&self, written: &[u8]) -> StreamResult<()> {
        let mut state = self.0.lock();
        match &mut *state {
            ResponseState::Body(body) => body.write(written),
            ResponseState::Head { bytes, .. } => {
                bytes.extend_from_slice(written);
                match cgi::parse_head(bytes) {
                    Ok(None) => {}
                    Ok(Some(found)) => state.begin_body(found),
                    Err(no_head) => {
                        *state = ResponseState::Refused(no_head);
                        // Nothing that it would still write could be used.
                        return Err(StreamError::trap("the output is not a CGI response"));
                    }
                }
            }
            ResponseState::Refused(_) | ResponseState::Ended => return Err(StreamError::Closed),
        }
        Ok(())
    }
}

impl ResponseState {
    fn begin_body(&mut self, found: cgi::Head) {
        let ResponseState::Head { bytes, head, for_head } = std::mem::take(self) else { return };
        let length = found.parts.headers.get(http::header::CONTENT_LENGTH);
        let length = length.filter(|_| !for_head && !has_no_content(found.parts.status));
        let (writer, body) = pipe(length.and_then(|length| length.to_str().ok()?.parse().ok()));
        writer.write(&bytes[found.bytes..]);
        // This fails if the client has gone. Then the call is being dropped.
        let _ = head.send(Ok(http::Response::from_parts(found.parts, body.boxed_unsync())));
        *self = ResponseState::Body(writer);
    }
}

fn refused(no_head: &cgi::NoHead) -> Fault {
    Fault::invalid_response(no_head.why, no_head.detail.clone())
}

impl IsTerminal for Response {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Response {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for Response {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match &*self.0.lock() {
            ResponseState::Body(body) => body.room().ok_or(StreamError::Closed),
            ResponseState::Head { .. } => Ok(limits::RESPONSE_HEADER_BYTES_MAX),
            ResponseState::Refused(_) | ResponseState::Ended => Err(StreamError::Closed),
        }
    }
}

impl Response {
    fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        match &*self.0.lock() {
            ResponseState::Body(body) => body.poll_room(context),
            _ => Poll::Ready(()),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Response {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll_room(context)).await;
    }
}

impl AsyncWrite for Response {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        std::task::ready!(self.poll_room(context));
        let closed = |_| std::io::ErrorKind::BrokenPipe.into();
        let room = self.check_write().map_err(closed)?.min(bytes.len());
        Poll::Ready(self.take(&bytes[..room]).map(|()| room).map_err(closed))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The program's stdin: the request's body, for the first who opens it.
struct Stdin(Mutex<Option<GuestBody>>);

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(BodyInput { body: self.0.lock().take(), next: Ok(Bytes::new()) })
    }

    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        // Preview 1 reads only through `p2_stream`.
        Box::new(tokio::io::empty())
    }
}

/// Reads a body frame by frame.
struct BodyInput {
    body: Option<GuestBody>,
    next: Result<Bytes, String>,
}

impl BodyInput {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Ok(bytes) = &self.next
            && bytes.is_empty()
            && let Some(body) = &mut self.body
        {
            match std::task::ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => self.next = Ok(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => self.next = Err(format!("{error:?}")),
                None => self.body = None,
            }
        }
        Poll::Ready(())
    }
}

impl InputStream for BodyInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.poll_next(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Ok(Bytes::new());
        }
        match &mut self.next {
            Ok(bytes) if bytes.is_empty() => Err(StreamError::Closed),
            Ok(bytes) => Ok(bytes.split_to(size.min(bytes.len()))),
            Err(why) => Err(StreamError::LastOperationFailed(wasmtime::Error::msg(why.clone()))),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for BodyInput {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll_next(context)).await;
    }
}
