//! One request to a collector, and what its answer means.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use tokio::time::timeout;

use crate::invocation::random_share;
use crate::text::chain;
use crate::trace::otlp;
use crate::{limits, tls};

const AGENT: &str = concat!("wfn/", env!("CARGO_PKG_VERSION"));

/// Where traces cannot go.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint of traces is not of the form http(s)://HOST[:PORT][/PATH], without user and query")]
pub struct EndpointError;

/// Who takes traces.
pub(super) struct Collector {
    client: tls::HttpClient<Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
}

/// Why spans were not taken.
#[derive(Debug)]
pub(super) enum Failure {
    /// The same request may do later, not before the pause that the collector asks for.
    Passing { reason: String, retry_after: Option<Duration> },
    /// It will never do.
    Final(String),
    /// The other spans were taken.
    Partial { rejected: u64, reason: String },
}

impl Collector {
    pub(super) fn new(
        endpoint: &Uri,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Self, EndpointError> {
        let uri = traces_uri(endpoint).ok_or(EndpointError)?;
        let mut headers: HeaderMap = headers.into_iter().collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        Ok(Self { client: tls::http_client(), uri, headers })
    }

    /// Sends one batch, once.
    pub(super) async fn send(&self, body: Bytes) -> Result<(), Failure> {
        let passing = |reason| Failure::Passing { reason, retry_after: None };
        match timeout(limits::TRACE_REQUEST_TIMEOUT, self.answer(body)).await {
            Ok(Ok((status, headers, body))) => meaning(status, &headers, &body),
            Ok(Err(error)) => Err(passing(chain(&*error))),
            Err(_) => Err(passing(format!("no answer within {:?}", limits::TRACE_REQUEST_TIMEOUT))),
        }
    }

    /// The whole answer: a connection is kept only if it was read to the end.
    async fn answer(
        &self,
        body: Bytes,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Box<dyn StdError + Send + Sync>> {
        let mut request = Request::post(self.uri.clone()).body(Full::new(body))?;
        request.headers_mut().clone_from(&self.headers);
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, limits::TRACE_ANSWER_BYTES_MAX).collect().await;
        // The status has said it all, where the rest is too long or breaks off.
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok((head.status, head.headers, body))
    }
}

/// Names the collector in the log.
impl fmt::Display for Collector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(formatter)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing { reason, .. } | Self::Final(reason) => formatter.write_str(reason),
            Self::Partial { rejected, reason } => {
                write!(formatter, "{rejected} spans were not taken: {reason}")
            }
        }
    }
}

/// The path that OTLP/HTTP has for traces, below that of the endpoint.
fn traces_uri(endpoint: &Uri) -> Option<Uri> {
    let is_plain = !endpoint.authority()?.as_str().contains('@') && endpoint.query().is_none();
    if !is_plain || !matches!(endpoint.scheme_str()?, "http" | "https") {
        return None;
    }
    let path = format!("{}/v1/traces", endpoint.path().trim_end_matches('/'));
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// What OTLP/HTTP says that an answer means ("Full Success" to "All Other Responses").
fn meaning(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Failure> {
    if status.is_success() {
        return match otlp::rejected(body) {
            None => Ok(()),
            Some((rejected, reason)) => Err(Failure::Partial { rejected, reason: quoted(reason.as_bytes()) }),
        };
    }
    let reason = format!("it answered {status} {}", quoted(body));
    Err(match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Failure::Passing { reason, retry_after: retry_after(headers) },
        _ => Failure::Final(reason),
    })
}

/// The pause the collector asks for, bounded. It is in seconds; a date is not looked at.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(limits::TRACE_RETRY_AFTER_MAX))
}

/// The pause after a failed attempt, counted from 0: twice as long each time, and anything from a half to the whole of
/// that, so that the hosts of a collector that was away do not come back together.
pub(super) fn pause(attempt: u32) -> Duration {
    let whole =
        limits::TRACE_PAUSE_MIN.saturating_mul(2_u32.saturating_pow(attempt)).min(limits::TRACE_PAUSE_MAX);
    whole.mul_f64(0.5 + random_share() / 2.0)
}

/// The begin of what a server said, on one line.
fn quoted(text: &[u8]) -> String {
    const SAID_BYTES_MAX: usize = 256;
    format!("{:?}", String::from_utf8_lossy(&text[..text.len().min(SAID_BYTES_MAX)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uri(endpoint: &str) -> Option<String> {
        traces_uri(&endpoint.parse().unwrap()).map(|uri| uri.to_string())
    }

    #[test]
    fn the_path_of_traces_stands_below_the_endpoint() {
        for (endpoint, expected) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://example.com/otlp", "https://example.com/otlp/v1/traces"),
            ("https://example.com/otlp/", "https://example.com/otlp/v1/traces"),
        ] {
            assert_eq!(uri(endpoint).as_deref(), Some(expected), "{endpoint}");
        }
        let no_endpoints = [
            "/otlp",
            "collector:4318",
            "grpc://collector:4317",
            "http://user:word@host",
            "http://host/?key=1",
        ];
        for endpoint in no_endpoints {
            assert_eq!(uri(endpoint), None, "{endpoint}");
        }
    }

    #[test]
    fn only_what_the_protocol_names_is_tried_again() {
        for code in 100..600 {
            let status = StatusCode::from_u16(code).unwrap();
            let answer = meaning(status, &HeaderMap::new(), b"");
            match code {
                200..300 => assert!(answer.is_ok(), "{code}"),
                429 | 502 | 503 | 504 => assert!(matches!(answer, Err(Failure::Passing { .. })), "{code}"),
                _ => assert!(matches!(answer, Err(Failure::Final(_))), "{code}"),
            }
        }
    }

    #[test]
    fn the_collector_may_ask_for_a_pause_within_bounds() {
        for (asked, seconds) in
            [("0", Some(0)), ("7", Some(7)), ("3600", Some(30)), ("-1", None), ("Fri, 31 Dec 1999", None)]
        {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(asked))]);
            assert_eq!(retry_after(&headers), seconds.map(Duration::from_secs), "{asked}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn what_a_server_says_is_cut_and_stays_on_one_line() {
        let said = quoted("a\nb".repeat(1_000).as_bytes());
        assert!(said.starts_with("\"a\\nb") && !said.contains('\n') && said.len() < 400, "{said}");
    }

    proptest! {
        #[test]
        fn pauses_double_up_to_the_longest(attempt in 0u32..100) {
            let whole = Duration::from_millis(500 * (1 << attempt.min(10))).min(Duration::from_secs(10));
            let pause = pause(attempt);
            prop_assert!(pause >= whole / 2 && pause <= whole, "{:?}", pause);
        }
    }

    #[test]
    fn pauses_are_not_all_the_same() {
        let first = pause(5);
        assert!((0..20).any(|_| pause(5) != first));
    }
}
