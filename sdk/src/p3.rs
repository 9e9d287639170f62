//! Asynchronous handlers: `wasi:http/handler@0.3` through the crate `wasip3`.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_channel::mpsc;
use futures_core::Stream as _;
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use wasip3::http::client;
use wasip3::http::types as wasi;
use wasip3::http_compat::{
    http_from_wasi_request, http_from_wasi_response, http_into_wasi_request, http_into_wasi_response,
};
pub use wasip3::spawn_local as spawn;

use crate::body::{Kind, too_large};
use crate::call::CallError;
use crate::response::set_content_length;
use crate::{Body, Error, IntoResponse, Request, Response};

/// Any body of the `http-body` crate. A guest has one thread, so it need not be `Send`.
pub(crate) type HttpBody = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError>>>;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Answers one invocation by `handler`. `#[handler]` calls this. A guest that implements the export itself can call it
/// too:
///
/// ```
/// use wfn_sdk::wasip3::exports::http::handler::Guest;
/// use wfn_sdk::wasip3::http::types::{ErrorCode, Request, Response};
///
/// struct Function;
///
/// impl Guest for Function {
///     async fn handle(request: Request) -> Result<Response, ErrorCode> {
///         wfn_sdk::p3::serve(request, async |_| "hello\n").await
///     }
/// }
///
/// wfn_sdk::wasip3::http::service::export!(Function with_types_in wfn_sdk::wasip3);
/// ```
///
/// # Errors
/// If HTTP or the host does not allow the request or the response. The host answers then.
pub async fn serve<R: IntoResponse>(
    request: wasi::Request,
    handler: impl AsyncFnOnce(Request) -> R,
) -> Result<wasi::Response, wasi::ErrorCode> {
    let request = http_from_wasi_request(request)?.map(Body::from_http);
    let mut response = handler(request).await.into_response();
    set_content_length(&mut response);
    http_into_wasi_response(response)
}

/// Sends `request` and waits for the head of its answer.
pub(crate) async fn exchange(request: Request) -> Result<Response, CallError> {
    let request = http_into_wasi_request(request);
    let request = request.map_err(|code| CallError::Invalid(format!("{code:?}")))?;
    let answer = client::send(request).await.and_then(http_from_wasi_response);
    Ok(answer.map_err(|code| CallError::Failed(format!("{code:?}")))?.map(Body::from_http))
}

impl Body {
    /// A body of the `http-body` crate: those of `http-body-util` (from a stream of frames, with trailers, mapped) and
    /// those of HTTP clients.
    ///
    /// ```
    /// use http_body_util::{BodyExt as _, Full};
    /// use wfn_sdk::Body;
    ///
    /// let mut trailers = wfn_sdk::http::HeaderMap::new();
    /// trailers.insert("x-count", 7.into());
    /// let body = Body::from_http(Full::from("text\n").with_trailers(async { Some(Ok(trailers)) }));
    /// ```
    pub fn from_http<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + 'static,
    {
        Self(Kind::Http(Box::pin(Boxed(Box::pin(body)))))
    }

    /// The body of a response, and its sender, which is usually used by a task that was [`spawn`]ed for it.
    ///
    /// ```
    /// use wfn_sdk::{Body, Request, Response, p3};
    ///
    /// async fn count(_: Request) -> Response {
    ///     let (mut sender, body) = Body::channel();
    ///     p3::spawn(async move {
    ///         for number in 0..10 {
    ///             if sender.send(format!("{number}\n")).await.is_err() {
    ///                 break;
    ///             }
    ///         }
    ///     });
    ///     Response::new(body)
    /// }
    /// ```
    pub fn channel() -> (Sender, Self) {
        // The channel has one place for each sender besides this bound: one chunk waits while one is sent.
        let (sender, receiver) = mpsc::channel(0);
        (Sender(sender), Self(Kind::Http(Box::pin(Received(receiver)))))
    }

    /// Waits for the next bytes; `None` at the end. Trailers are skipped; `http_body_util::BodyExt::frame` gives them.
    ///
    /// # Errors
    /// 400 if the caller breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match poll_fn(|context| Pin::new(&mut *self).poll_frame(context)).await {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(Error::new(StatusCode::BAD_REQUEST, "the body broke off").caused_by(error));
                }
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// Reads the rest of the body, at most `bytes_max` bytes, while other invocations run.
    ///
    /// # Errors
    /// 413 if it is longer (nothing more is read then), 400 if the caller breaks off.
    pub async fn collect_bytes(&mut self, bytes_max: usize) -> Result<Bytes, Error> {
        let mut first = Bytes::new();
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if chunk.len() > bytes_max - first.len().max(all.len()) {
                return Err(too_large(bytes_max));
            }
            if first.is_empty() && all.is_empty() {
                first = chunk;
            } else {
                // More than one chunk: the first joins the others.
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&chunk);
            }
        }
        Ok(if all.is_empty() { first } else { all.into() })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().0 {
            Kind::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Http(body) => body.as_mut().poll_frame(context),
            #[cfg(feature = "sync")]
            _ => Poll::Ready(Some(Err("this body needs a synchronous handler".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Bytes(bytes) => bytes.is_empty(),
            Kind::Http(body) => body.is_end_stream(),
            #[cfg(feature = "sync")]
            _ => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Http(body) => body.size_hint(),
            #[cfg(feature = "sync")]
            _ => SizeHint::default(),
        }
    }
}

/// A body whose errors are boxed.
struct Boxed<B>(Pin<Box<B>>);

impl<B: http_body::Body<Data = Bytes, Error: Into<BoxError>>> http_body::Body for Boxed<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.get_mut().0.as_mut().poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// What a [`Sender`] sends to its body.
type Sent = Result<Frame<Bytes>, BoxError>;

/// Sends the bytes of a [`Body::channel`]. Dropping it ends the body.
#[derive(Debug)]
pub struct Sender(mpsc::Sender<Sent>);

impl Sender {
    /// Sends bytes. Waits while the caller reads more slowly.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] if the caller has gone.
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> io::Result<()> {
        self.put(Ok(Frame::data(bytes.into()))).await
    }

    /// Ends the body with trailers.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn finish(mut self, trailers: HeaderMap) -> io::Result<()> {
        self.put(Ok(Frame::trailers(trailers))).await
    }

    /// Cuts the body off, so that the caller sees that it is incomplete.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn abort(mut self, cause: impl Into<BoxError>) -> io::Result<()> {
        self.put(Err(cause.into())).await
    }

    async fn put(&mut self, sent: Sent) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the other end has closed the body");
        poll_fn(|context| self.0.poll_ready(context)).await.map_err(gone)?;
        self.0.start_send(sent).map_err(gone)
    }
}

/// The body that a [`Sender`] sends.
struct Received(mpsc::Receiver<Sent>);

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Sent>> {
        Pin::new(&mut self.0).poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use http_body_util::BodyExt as _;

    use crate::{Body, StatusCode};

    /// The result of `future`, which must be ready at once.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn bodies_are_collected_within_their_bounds() {
        let chunks = || {
            let (mut sender, body) = Body::channel();
            now(sender.send("abc")).expect("room for one");
            drop(sender);
            Body::from_http(body)
        };
        for body in [|| "abc".into(), chunks] {
            assert_eq!(now(body().collect_bytes(3)).expect("fits"), "abc");
            let refused = now(body().collect_bytes(2)).expect_err("too large");
            assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
    }

    #[test]
    fn channel_holds_one_chunk_and_passes_trailers_and_errors_on() {
        let (mut sender, mut body) = Body::channel();
        now(sender.send("1")).expect("room for one");
        assert!(pin!(sender.send("2")).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(now(body.chunk()).expect("sound").expect("a chunk"), "1");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-count", 1.into());
        now(sender.finish(trailers.clone())).expect("room again");
        let frame = now(body.frame()).expect("a frame").expect("sound");
        assert_eq!(frame.into_trailers().expect("trailers"), trailers);
        assert!(now(body.frame()).is_none());

        let (sender, mut body) = Body::channel();
        now(sender.abort("no more")).expect("room for one");
        assert!(now(body.chunk()).is_err());

        let (mut sender, body) = Body::channel();
        drop(body);
        assert!(now(sender.send("1")).is_err());
    }
}
