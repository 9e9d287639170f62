//! The client of the admin API: plain HTTP, blocking, errors that say what to do.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::{Method, Request, Response, StatusCode, Uri};
use ureq::{Agent, Body, Error, SendBody};

use crate::failure::{Done, Failure};

/// How long a host may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a host may take to answer what it only looks up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of an answer that is read whole.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The header that carries the token, so that `authorization` is free for functions.
const TOKEN_HEADER: &str = "wfn-token";
/// What asks for events instead of one answer.
pub const NDJSON: &str = "application/x-ndjson";

/// The admin token.
#[derive(Clone)]
pub struct Token {
    /// What the host compares.
    pub text: String,
    /// Where it came from, for the case that it is wrong.
    pub source: TokenSource,
}

/// Where a token came from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// `--token`.
    Flag,
    /// `WFN_TOKEN`.
    Environment,
    /// The data directory.
    File(PathBuf),
    /// There is none, and why.
    Missing(String),
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("it came from --token"),
            Self::Environment => f.write_str("it came from WFN_TOKEN"),
            Self::File(path) => write!(f, "it came from {}", path.display()),
            Self::Missing(why) => write!(f, "none was sent, because {why}"),
        }
    }
}

/// A client of one host.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    server: String,
    token: Token,
}

impl Client {
    /// A client of the host whose admin API is at `server`.
    pub fn new(server: String, token: Token) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            // The answer of a function is passed on as it is, and the token goes nowhere else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("wfn/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT));
        Self { agent: config.build().into(), server, token }
    }

    /// The address of the admin API.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Looks something up.
    pub fn get(&self, path: &str) -> Done<Value> {
        let request = self.request(Method::GET, path).body(SendBody::none());
        self.json(self.send(request, Some(LOOKUP_TIMEOUT))?)
    }

    /// Where the functions of the host can be called, without a slash at its end.
    pub fn functions(&self) -> Done<String> {
        let host = self.get("/v1/host")?;
        let functions = host["functions"].as_str().ok_or_else(|| self.stranger("without an address"))?;
        Ok(reachable(functions, &self.server))
    }

    /// Whether something is there.
    pub fn exists(&self, path: &str) -> Done<bool> {
        let request = self.request(Method::HEAD, path).body(SendBody::none());
        let response = self.send(request, Some(LOOKUP_TIMEOUT))?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            _ => self.accepted(response).map(|_| true),
        }
    }

    /// Changes something; the answer comes when it is done.
    pub fn change(&self, method: Method, path: &str, body: &Value) -> Done<Value> {
        self.json(self.change_with_events(method, path, body, "application/json")?)
    }

    /// Changes something and answers in the form that `accept` names.
    pub fn change_with_events(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        accept: &str,
    ) -> Done<Response<Body>> {
        let request = self.request(method, path).header("accept", accept);
        let text = body.to_string();
        let request = request.header("content-type", "application/json").header("content-length", text.len());
        let response = self.send(request.body(SendBody::from_reader(&mut text.as_bytes())), None)?;
        self.accepted(response)
    }

    /// Uploads `length` bytes.
    pub fn put(&self, path: &str, mut bytes: impl Read, length: u64) -> Done {
        let request = self.request(Method::PUT, path).header("content-length", length);
        let response = self.send(request.body(SendBody::from_reader(&mut bytes)), None)?;
        self.accepted(response).map(|_| ())
    }

    /// Reads what goes on as long as it goes on.
    pub fn stream(&self, path: &str) -> Done<Response<Body>> {
        let response = self.send(self.request(Method::GET, path).body(SendBody::none()), None)?;
        self.accepted(response)
    }

    /// A request with the token.
    pub fn request(&self, method: Method, path: &str) -> ureq::http::request::Builder {
        let uri = format!("{}{path}", self.server);
        Request::builder().method(method).uri(uri).header(TOKEN_HEADER, &self.token.text)
    }

    /// Sends a request; the answer may be a refusal.
    pub fn send(
        &self,
        request: Result<Request<SendBody>, ureq::http::Error>,
        timeout: Option<Duration>,
    ) -> Done<Response<Body>> {
        let request = request.map_err(|error| self.unsendable(&error))?;
        let request = self.agent.configure_request(request).timeout_recv_response(timeout).build();
        let response = self.agent.run(request).map_err(|error| self.unreachable(error))?;
        if response.status() == StatusCode::UNAUTHORIZED && !is_of_a_function(&response) {
            let refused = match self.token.source {
                TokenSource::Missing(_) => "wants a token",
                _ => "refuses the token",
            };
            let message = format!("the host at {} {refused}: {}", self.server, self.token.source);
            return Err(Failure::new(message).with_code("unauthorized").remedy(
                "--token or WFN_TOKEN with the content of the file \"token\" in that host's data directory, \
                 or --data-dir DIR",
            ));
        }
        Ok(response)
    }

    /// The response, unless the host refused.
    pub fn accepted(&self, response: Response<Body>) -> Done<Response<Body>> {
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        if is_of_a_function(&response) {
            return Err(self.stranger(&format!("status {status} as functions do")));
        }
        let answer = self.text(response).unwrap_or_default();
        let error = serde_json::from_str::<Value>(&answer).unwrap_or_default();
        Err(refusal(&error["error"]).unwrap_or_else(|| self.stranger(&format!("status {status}"))))
    }

    /// The JSON of an answer, unless the host refused.
    pub fn json(&self, response: Response<Body>) -> Done<Value> {
        let text = self.text(self.accepted(response)?)?;
        serde_json::from_str(&text).map_err(|_| self.stranger("something that is not JSON"))
    }

    fn text(&self, response: Response<Body>) -> Done<String> {
        let body = response.into_body().into_with_config().limit(ANSWER_BYTES_MAX).lossy_utf8(true);
        body.read_to_string().map_err(|error| self.unreachable(error))
    }

    fn unsendable(&self, error: &ureq::http::Error) -> Failure {
        let message = format!("a request to {} cannot be sent: {error}", self.server);
        Failure::usage(message).remedy("--server http://ADDRESS:PORT and a token without spaces")
    }

    fn stranger(&self, answer: &str) -> Failure {
        Failure::new(format!("{} answers {answer}: it is not the admin API of a wfn host", self.server))
            .remedy("--server with the second address of the line 'wfn ready' (not that of the functions)")
    }

    fn unreachable(&self, error: Error) -> Failure {
        let server = &self.server;
        let nobody = |then: &str| Failure::new(format!("no host answers at {server}: {then}"));
        match error {
            Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                nobody("start one with 'wfn up', or name it with --server")
            }
            Error::HostNotFound => nobody("the name is not known, give another --server"),
            Error::BadUri(_) => {
                Failure::usage(format!("{server} is not a URL")).remedy("--server http://127.0.0.1:8081")
            }
            Error::Timeout(ureq::Timeout::Connect) => {
                nobody("it does not accept connections, check firewalls on the way")
            }
            Error::Timeout(_) => Failure::new(format!("the host at {server} does not answer in time")),
            Error::Io(error) if is_cut(error.kind()) => {
                Failure::new(format!("the host at {server} closed the connection: {error}"))
                    .remedy("'wfn doctor', and the log of 'wfn up'")
            }
            Error::Protocol(_) => self.stranger("something that is not HTTP/1.1"),
            Error::Io(error) => nobody(&error.to_string()),
            error => Failure::new(format!("the host at {server} cannot be asked: {error}")),
        }
    }
}

fn is_cut(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}

/// Whether the answer came through the dispatcher: only those carry the id of an invocation.
pub fn is_of_a_function(response: &Response<Body>) -> bool {
    response.headers().contains_key("wfn-invocation")
}

/// What the host says in `{"code","message"}`.
pub fn refusal(error: &Value) -> Option<Failure> {
    let message = error["message"].as_str()?;
    Some(Failure::new(message).with_code(error["code"].as_str().unwrap_or("unknown")))
}

/// `http://0.0.0.0:8080` is where a host listens, not where it can be reached: takes the host's name from
/// the address of its admin API.
fn reachable(functions: &str, server: &str) -> String {
    let listens_everywhere =
        |uri: &Uri| matches!(uri.host(), Some("0.0.0.0" | "[::]")) && uri.port().is_some();
    match (functions.parse::<Uri>(), server.parse::<Uri>()) {
        (Ok(uri), Ok(known)) if listens_everywhere(&uri) => {
            let host = known.host().filter(|host| *host != "0.0.0.0").unwrap_or("127.0.0.1");
            let port = uri.port_u16().unwrap_or(80);
            format!("http://{host}:{port}")
        }
        _ => functions.to_owned(),
    }
}

/// The path of an app, or of something below it.
pub fn app_path(app: &impl std::fmt::Display, below: &str) -> String {
    format!("/v1/apps/{app}{below}")
}

/// Text as one segment of a path, or a value of a query, whatever it contains.
pub fn encoded_segment(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        // A dot, too: a segment of dots would be a way up.
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// A body that says nothing.
pub fn nothing() -> Value {
    json!({})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(encoded_segment("a/../b c?&=ä"), "a%2F%2E%2E%2Fb%20c%3F%26%3D%C3%A4");
    }

    #[test]
    fn an_address_that_cannot_be_called_is_replaced() {
        let cases = [
            ("http://127.0.0.1:8080", "http://10.0.0.7:8081", "http://127.0.0.1:8080"),
            ("http://0.0.0.0:8080", "http://10.0.0.7:8081", "http://10.0.0.7:8080"),
            ("http://[::]:8080", "http://localhost:8081", "http://localhost:8080"),
        ];
        for (functions, server, expected) in cases {
            assert_eq!(reachable(functions, server), expected);
        }
    }
}
