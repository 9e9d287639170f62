//! Requests that a function sends: to other servers, to other apps, and to the host's own services.

use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};

use crate::body::Kind;
#[cfg(feature = "json")]
use crate::service::message;
use crate::{Body, Request, Response};

/// Most bytes of the message of a refusal that are read.
pub(crate) const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// A request that is ready to be sent, with the way to read its answer.
///
/// A synchronous function sends it with [`send`](Self::send) and waits, or sends several at once with [`send_all`]. An
/// asynchronous function awaits it:
///
/// ```
/// use wfn_sdk::{Error, Request, Response, fetch};
///
/// fn relay(_: Request) -> Result<Response, Error> {
///     Ok(fetch(Request::get("https://api.example.com/prices").body(())?).send()?)
/// }
///
/// async fn relay_while_others_run(_: Request) -> Result<Response, Error> {
///     Ok(fetch(Request::get("https://api.example.com/prices").body(())?).await?)
/// }
/// ```
#[must_use = "nothing is sent before `send` or `.await`"]
pub struct Call<T> {
    request: Result<Request, CallError>,
    answer: Answer<T>,
}

/// How an answer is read.
struct Answer<T> {
    /// For services of the host: the statuses besides success that `read` handles. `None`: `read` handles every status.
    expected: Option<&'static [StatusCode]>,
    /// How many bytes of the body of a success are read before `read` is called; `None`: `read` gets the stream.
    bytes_max: Option<usize>,
    read: Box<dyn FnOnce(Response) -> Result<T, CallError>>,
}

/// Sends a request to another server, or to another app at `http://NAME.wfn.internal/`. An answer of any status is a
/// success. Its body is a stream.
///
/// The app's manifest must allow the server: `allowed_outbound_hosts = ["https://api.example.com"]`.
pub fn fetch(request: http::Request<impl Into<Body>>) -> Call<Response> {
    let mut request = request.map(Into::into);
    let may_be_left_out = matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE);
    let length = request.body().exact_length();
    if let Some(length) = length.filter(|length| *length > 0 || !may_be_left_out)
        && !request.headers().contains_key(CONTENT_LENGTH)
    {
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    Call { request: Ok(request), answer: Answer { expected: None, bytes_max: None, read: Box::new(Ok) } }
}

impl<T: 'static> Call<T> {
    /// Converts the result with `f`.
    ///
    /// ```
    /// use wfn_sdk::{Call, CallError, kv::Store};
    ///
    /// fn length(store: &Store, key: &str) -> Call<usize> {
    ///     store.get(key).map(|value| Ok(value.map_or(0, |value| value.len())))
    /// }
    /// ```
    pub fn map<U: 'static>(self, f: impl FnOnce(T) -> Result<U, CallError> + 'static) -> Call<U> {
        let Answer { expected, bytes_max, read } = self.answer;
        let read = Box::new(|response| read(response).and_then(f));
        Call { request: self.request, answer: Answer { expected, bytes_max, read } }
    }

    /// Sends the request and waits for the answer.
    ///
    /// # Errors
    /// If there is no answer, or if the service of the host refuses.
    #[cfg(feature = "sync")]
    pub fn send(self) -> Result<T, CallError> {
        let pending = crate::p2::start(self.request?)?;
        self.answer.take(crate::p2::finish(&pending)?)
    }
}

#[cfg(feature = "json")]
impl<T: 'static> Call<T> {
    /// Makes a request to one of the host's services. `read` gets a success and the `expected` statuses; any other
    /// status is [`CallError::Refused`]. With `bytes_max` the body is read before.
    pub(crate) fn service(
        request: http::Result<Request>,
        expected: &'static [StatusCode],
        bytes_max: Option<usize>,
        read: impl FnOnce(Response) -> Result<T, CallError> + 'static,
    ) -> Self {
        let request = request.map(fetch).map_err(|error| CallError::Invalid(error.to_string()));
        Self {
            request: request.and_then(|call| call.request),
            answer: Answer { expected: Some(expected), bytes_max, read: Box::new(read) },
        }
    }

    /// Makes a call that fails when it is sent, because of `why`.
    pub(crate) fn invalid(why: String) -> Self {
        let read = Box::new(|_| Err(CallError::Invalid(String::new())));
        Self {
            request: Err(CallError::Invalid(why)),
            answer: Answer { expected: None, bytes_max: None, read },
        }
    }
}

/// Sends all `calls` before it waits for the first answer, so together they take as long as the slowest one.
///
/// ```
/// use wfn_sdk::{CallError, Request, Response, fetch, send_all};
///
/// fn prices(shops: [&str; 10]) -> Vec<Result<Response, CallError>> {
///     let ask = |shop| Some(fetch(Request::get(format!("https://{shop}/price")).body(()).ok()?));
///     send_all(shops.into_iter().filter_map(ask))
/// }
/// ```
#[cfg(feature = "sync")]
pub fn send_all<T: 'static>(calls: impl IntoIterator<Item = Call<T>>) -> Vec<Result<T, CallError>> {
    let sent = calls.into_iter().map(|call| (call.request.and_then(crate::p2::start), call.answer));
    let sent: Vec<_> = sent.collect();
    let taken = sent.into_iter().map(|(pending, answer)| answer.take(crate::p2::finish(&pending?)?));
    taken.collect()
}

/// Sends the request. Other invocations run in the same instance while it waits.
#[cfg(feature = "async")]
impl<T: 'static> IntoFuture for Call<T> {
    type Output = Result<T, CallError>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut response = crate::p3::exchange(self.request?).await?;
            if let Some(bytes_max) = self.answer.bytes_first(response.status()) {
                let bytes = response.body_mut().collect_bytes(bytes_max).await;
                *response.body_mut() = bytes.map_err(|error| CallError::Failed(error.to_string()))?.into();
            }
            self.answer.conclude(response)
        })
    }
}

impl<T> Answer<T> {
    fn is_expected(&self, status: StatusCode) -> bool {
        self.expected.is_none_or(|expected| status.is_success() || expected.contains(&status))
    }

    /// Returns how many bytes of the body of an answer with `status` are read first, if any.
    fn bytes_first(&self, status: StatusCode) -> Option<usize> {
        let is_refusal = self.expected.is_some() && !status.is_success();
        if is_refusal { Some(REFUSAL_BYTES_MAX) } else { self.bytes_max }
    }

    #[cfg(feature = "sync")]
    fn take(self, mut response: Response) -> Result<T, CallError> {
        if let Some(bytes_max) = self.bytes_first(response.status()) {
            let bytes = response.body_mut().read_bytes(bytes_max);
            *response.body_mut() = bytes.map_err(|error| CallError::Failed(error.to_string()))?.into();
        }
        self.conclude(response)
    }

    fn conclude(self, response: Response) -> Result<T, CallError> {
        if self.is_expected(response.status()) {
            return (self.read)(response);
        }
        Err(refusal(response))
    }
}

/// Returns the error of a service's answer that is neither success nor expected.
pub(crate) fn refusal(response: Response) -> CallError {
    let code = response.headers().get("wfn-outcome").and_then(|code| code.to_str().ok());
    let (status, code) = (response.status(), code.unwrap_or_default().to_owned());
    let body = at_hand(response);
    let message = message(&body).unwrap_or_else(|| String::from_utf8_lossy(&body).trim().to_owned());
    CallError::Refused { status, code, message }
}

/// The body of an answer that is read already.
pub(crate) fn at_hand(response: Response) -> Bytes {
    match response.into_body().0 {
        Kind::Bytes(bytes) => bytes,
        // Only bodies that were read come here.
        _ => Bytes::new(),
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.request {
            Ok(request) => write!(f, "Call({} {})", request.method(), request.uri()),
            Err(error) => write!(f, "Call({error})"),
        }
    }
}

/// Only services of the host refuse, and they need this feature.
#[cfg(not(feature = "json"))]
fn message(_: &[u8]) -> Option<String> {
    None
}

/// Why a [`Call`] failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The request cannot be sent.
    Invalid(String),
    /// There was no valid answer: holds WASI's error code, or what broke off. It is `HttpRequestDenied` if the manifest
    /// does not allow the server.
    Failed(String),
    /// The host's service refused.
    Refused {
        /// The status of its answer.
        status: StatusCode,
        /// The stable code, as in the documentation: `access-denied`.
        code: String,
        /// What is wrong and what to do.
        message: String,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) => write!(f, "invalid request: {why}"),
            Self::Failed(why) => write!(f, "no answer: {why}"),
            Self::Refused { status, code, message } => write!(f, "refused with {status} {code}: {message}"),
        }
    }
}

impl StdError for CallError {}

#[cfg(all(test, feature = "sync", feature = "json"))]
mod tests {
    use super::{Call, CallError, at_hand, fetch};
    use crate::{Body, Request, Response, StatusCode};

    fn answer(status: u16, body: &'static str) -> Response {
        let builder = Response::builder().status(status).header("wfn-outcome", "access-denied");
        builder.body(Body::from_reader(body.as_bytes())).expect("valid")
    }

    fn call() -> Call<String> {
        let request = Request::get("http://wfn.internal/kv/a/b").body(Body::empty());
        Call::service(request, &[StatusCode::NOT_FOUND], Some(4), |response| {
            let status = response.status();
            Ok(format!("{status} {:?}", at_hand(response)))
        })
    }

    #[test]
    fn answers_are_read_within_their_bounds_and_refusals_told() {
        let take = |status, body| call().answer.take(answer(status, body));
        assert_eq!(take(200, "four"), Ok("200 OK b\"four\"".to_owned()));
        assert_eq!(take(404, ""), Ok("404 Not Found b\"\"".to_owned()));
        assert!(matches!(take(200, "fifth"), Err(CallError::Failed(_))));
        let refused = CallError::Refused {
            status: StatusCode::FORBIDDEN,
            code: "access-denied".to_owned(),
            message: "a store of another app".to_owned(),
        };
        let told = r#"{"error": {"code": "access-denied", "message": "a store of another app"}}"#;
        assert_eq!(take(403, told), Err(refused));
        let mapped = call().map(|text| Ok(text.len()));
        assert_eq!(mapped.answer.take(answer(200, "")), Ok(10));
        let any = fetch(Request::get("http://a.example/").body(()).expect("valid"));
        assert_eq!(any.answer.take(answer(500, "")).expect("any status").status(), 500);
    }

    #[test]
    fn requests_say_their_length_where_servers_want_it() {
        let length = |method: &str, body: Body| {
            let request = Request::builder().method(method).uri("http://a.example/").body(body);
            let sent = fetch(request.expect("valid")).request.expect("valid");
            sent.headers().get("content-length").map(|value| value.to_str().expect("ascii").to_owned())
        };
        assert_eq!(length("GET", Body::empty()), None);
        assert_eq!(length("POST", Body::empty()).as_deref(), Some("0"));
        assert_eq!(length("PUT", "abc".into()).as_deref(), Some("3"));
        assert_eq!(length("PUT", Body::from_reader("abc".as_bytes())), None);
    }
}
