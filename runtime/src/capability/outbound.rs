//! Outbound HTTP: sends the requests of guests to other servers. Connections are kept, and shared by the instances of
//! an app.
//!
//! A request is checked by name here, and by address when its connection is opened (`connect`). The guest gets
//! redirects as answers; if it follows one, that request is checked too.

mod body;

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Sleep, timeout};
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody};

use self::body::measured;
use crate::capability::connect::{ConnectError, Connector, OutboundBounds};
use crate::manifest::egress::{Destination, Egress, EgressRefusal};
use crate::meter::Meter;
use crate::{limits, tls};

/// Sends the outbound requests of the guests of one revision.
pub struct Outbound {
    egress: Arc<Egress>,
    meter: Arc<Meter>,
    /// `None` if the policy allows nothing.
    client: Option<Client<HttpsConnector<Connector>, WasiBody>>,
}

/// What the outbound requests of all apps of a host share.
pub struct OutboundHost {
    bounds: Arc<OutboundBounds>,
    tls: std::sync::OnceLock<rustls::ClientConfig>,
}

impl OutboundHost {
    /// Allows at most `connections` at a time.
    pub fn new(connections: usize) -> Self {
        Self { bounds: Arc::new(OutboundBounds::new(connections)), tls: std::sync::OnceLock::new() }
    }

    /// The system's TLS settings, read when the first app needs them.
    fn tls(&self) -> rustls::ClientConfig {
        self.tls.get_or_init(tls::of_the_system).clone()
    }
}

impl Outbound {
    /// Sends only what `egress` allows.
    pub fn new(egress: Egress, host: &OutboundHost, meter: Arc<Meter>) -> Self {
        let egress = Arc::new(egress);
        let client = (!egress.is_closed()).then(|| {
            let connector = Connector::new(egress.clone(), host.bounds.clone(), meter.clone());
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config(host.tls())
                .https_or_http()
                .enable_all_versions()
                .wrap_connector(connector);
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(limits::OUTBOUND_IDLE_TIMEOUT)
                .pool_max_idle_per_host(limits::OUTBOUND_IDLE_PER_HOST_MAX)
                .http1_max_buf_size(limits::HEAD_BYTES_MAX)
                .http1_max_headers(limits::HEADERS_MAX)
                .http2_max_header_list_size(limits::HEAD_BYTES_MAX as u32)
                .build(connector)
        });
        Self { egress, meter, client }
    }

    /// The policy: where requests may go.
    pub fn egress(&self) -> &Egress {
        &self.egress
    }

    /// Sends a request that [`Egress::may_ask`] let through and waits for the head of the response.
    pub async fn send(
        &self,
        mut request: Request<WasiBody>,
        destination: &Destination,
        options: Option<RequestOptions>,
    ) -> Result<Response<WasiBody>, SendError> {
        // CONNECT has no meaning on a shared connection.
        if request.method() == http::Method::CONNECT {
            return Err(SendError::Http(HttpError::HttpRequestMethodInvalid));
        }
        *request.uri_mut() = normal(request.uri(), destination).map_err(SendError::Http)?;
        *request.version_mut() = http::Version::HTTP_11;
        let options = Timeouts::of(options);
        let Some(client) = &self.client else { return Err(SendError::Http(HttpError::HttpRequestDenied)) };
        self.meter.outbound.requests.count();
        let head = timeout(options.head, async { client.request(measured(request).await).await }).await;
        let response = head.map_err(|_| SendError::Http(HttpError::ConnectionReadTimeout))?;
        let response = response.map_err(|error| translated(&error))?;
        let bytes: usize =
            response.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if bytes > limits::HEAD_BYTES_MAX {
            return Err(SendError::Http(HttpError::HttpResponseHeaderSectionSize(u32::try_from(bytes).ok())));
        }
        Ok(response.map(|body| {
            Received { body, between_bytes: options.between_bytes, silence: None }.boxed_unsync()
        }))
    }
}

/// Why a request got no response.
pub enum SendError {
    /// The address is not allowed. The app's log gets the reason.
    Refused(EgressRefusal),
    /// The error that the guest gets.
    Http(HttpError),
}

/// How long to wait for the response, within bounds. The deadline of the guest bounds what it leaves unset.
struct Timeouts {
    head: Duration,
    between_bytes: Duration,
}

impl Timeouts {
    fn of(options: Option<RequestOptions>) -> Self {
        let bounded = |asked: Option<Duration>, default: Duration| {
            // Not zero: timers of the runtime refuse that, or fire at once.
            asked.unwrap_or(default).clamp(Duration::from_millis(1), limits::TIMEOUT_MAX)
        };
        let asked = options.unwrap_or(RequestOptions {
            connect_timeout: None,
            first_byte_timeout: None,
            between_bytes_timeout: None,
        });
        let connect = bounded(asked.connect_timeout, limits::OUTBOUND_CONNECT_TIMEOUT);
        let first_byte = bounded(asked.first_byte_timeout, limits::TIMEOUT_MAX);
        let between_bytes = bounded(asked.between_bytes_timeout, limits::TIMEOUT_MAX);
        Self { head: connect + first_byte, between_bytes }
    }
}

/// Returns `uri` in its normal form, by which kept connections are found.
fn normal(uri: &Uri, destination: &Destination) -> Result<Uri, HttpError> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if path.len() > limits::OUTBOUND_PATH_BYTES_MAX {
        return Err(HttpError::HttpRequestUriTooLong);
    }
    let authority = destination.to_string();
    let authority = authority.split_once("://").map_or(authority.as_str(), |(_, authority)| authority);
    Uri::builder()
        .scheme(destination.scheme.to_string().as_str())
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|_| HttpError::HttpRequestUriInvalid)
}

/// Translates the failure for the guest: takes the innermost cause that is known.
fn translated(error: &(dyn StdError + 'static)) -> SendError {
    let mut result = HttpError::HttpProtocolError;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            // An `io::Error` that wraps another error does not return that one as its `source`.
            let Some(inner) = error.get_ref() else { return SendError::Http(of_io(error)) };
            next = Some(inner);
            continue;
        }
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return match error {
                ConnectError::Refused(refusal) => SendError::Refused(refusal.clone()),
                ConnectError::Dns { .. } => {
                    SendError::Http(HttpError::DnsError { rcode: Some("NXDOMAIN".into()), info_code: None })
                }
                ConnectError::TimedOut => SendError::Http(HttpError::ConnectionTimeout),
                ConnectError::Limit => SendError::Http(HttpError::ConnectionLimitReached),
                ConnectError::Io(error) => SendError::Http(of_io(error)),
            };
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return SendError::Http(match error {
                rustls::Error::InvalidCertificate(_) => HttpError::TlsCertificateError,
                rustls::Error::AlertReceived(alert) => {
                    HttpError::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: None }
                }
                _ => HttpError::TlsProtocolError,
            });
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            result = of_hyper(error);
        }
        next = error.source();
    }
    SendError::Http(result)
}

fn of_io(error: &io::Error) -> HttpError {
    match error.kind() {
        io::ErrorKind::TimedOut => HttpError::ConnectionTimeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            HttpError::ConnectionTerminated
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            HttpError::DestinationIpUnroutable
        }
        _ => HttpError::ConnectionRefused,
    }
}

fn of_hyper(error: &hyper::Error) -> HttpError {
    if error.is_timeout() {
        HttpError::HttpResponseTimeout
    } else if error.is_parse_too_large() {
        HttpError::HttpResponseHeaderSectionSize(None)
    } else if error.is_incomplete_message() {
        HttpError::HttpResponseIncomplete
    } else if error.is_canceled() || error.is_closed() {
        HttpError::ConnectionTerminated
    } else {
        HttpError::HttpProtocolError
    }
}

/// A response body as it arrives.
struct Received {
    body: Incoming,
    between_bytes: Duration,
    /// Runs while no bytes arrive.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Body for Received {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.silence = None;
                Poll::Ready(frame.map(|frame| frame.map_err(|error| of_hyper(&error))))
            }
            Poll::Pending => {
                let between_bytes = self.between_bytes;
                let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(between_bytes)));
                silence.as_mut().poll(context).map(|()| Some(Err(HttpError::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
