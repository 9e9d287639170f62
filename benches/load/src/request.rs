//! The one request of a run: its bytes are made once, and its address is looked up once.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::plan::Plan;

/// Most headers of a request, including those that the generator sets.
const HEADERS_MAX: usize = 128;
/// Headers that say where the request goes and where it ends. The generator sets them, so that they are right.
const RESERVED: [&str; 3] = ["host", "content-length", "transfer-encoding"];

/// What every client of a run sends, and where.
pub(crate) struct Request {
    /// They are tried in this order.
    pub addresses: Vec<SocketAddr>,
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Head and body.
    pub bytes: Bytes,
    /// Whether answers have no body, whatever their heads say: the method is HEAD.
    pub is_head: bool,
    pub timeout: Duration,
}

impl Request {
    /// Looks up the host and makes the bytes.
    pub fn new(plan: &Plan) -> Result<Self> {
        let target = &plan.target;
        let found = (target.host.as_str(), target.port).to_socket_addrs();
        let addresses: Vec<SocketAddr> =
            found.with_context(|| format!("failed to look up {}", target.host))?.collect();
        ensure!(!addresses.is_empty(), "{} has no address", target.host);
        let tls = match &target.tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(target.host.clone());
                let name = name.with_context(|| format!("{} is no name for TLS", target.host))?;
                Some((TlsConnector::from(config.clone()), name))
            }
        };
        let is_head = plan.method == "HEAD";
        Ok(Self { addresses, tls, bytes: encode(plan)?, is_head, timeout: plan.timeout })
    }
}

fn encode(plan: &Plan) -> Result<Bytes> {
    let Plan { target, method, headers, body, .. } = plan;
    let mut lines = vec![format!("{method} {} HTTP/1.1", target.path), format!("host: {}", target.authority)];
    for (name, value) in headers {
        if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            bail!("the header {name} is set by the load generator");
        }
        lines.push(format!("{name}: {value}"));
    }
    if !body.is_empty() || matches!(method.as_str(), "POST" | "PUT" | "PATCH") {
        lines.push(format!("content-length: {}", body.len()));
    }
    let head = lines.join("\r\n") + "\r\n\r\n";
    // A line break in one of them would make another header or another request of it.
    let mut parsed = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut parsed);
    let status = request.parse(head.as_bytes()).context("the request is no HTTP")?;
    let is_one = status == httparse::Status::Complete(head.len()) && request.headers.len() + 1 == lines.len();
    ensure!(
        is_one && target.path.starts_with('/'),
        "the request is no HTTP: look at its method, path and headers"
    );
    Ok([head.as_bytes(), body].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Mode, Target};

    fn plan() -> Plan {
        let target = Target {
            host: "127.0.0.1".to_owned(),
            port: 80,
            tls: None,
            authority: "hello.example".to_owned(),
            path: "/a?b".to_owned(),
        };
        Plan {
            target,
            method: "GET".to_owned(),
            headers: vec![("x-one".to_owned(), "1".to_owned())],
            body: Bytes::new(),
            mode: Mode::Closed { clients: 1 },
            duration: Duration::from_secs(1),
            limit: None,
            timeout: Duration::from_secs(1),
            threads: 1,
        }
    }

    #[test]
    fn a_request_is_its_head_and_its_body() {
        assert_eq!(encode(&plan()).unwrap(), "GET /a?b HTTP/1.1\r\nhost: hello.example\r\nx-one: 1\r\n\r\n");
        let post = Plan { method: "POST".to_owned(), ..plan() };
        assert!(encode(&post).unwrap().ends_with(b"content-length: 0\r\n\r\n"));
        let with_body = Plan { body: Bytes::from_static(b"body"), ..plan() };
        assert!(encode(&with_body).unwrap().ends_with(b"content-length: 4\r\n\r\nbody"));
    }

    #[test]
    fn nothing_can_be_smuggled_into_the_head() {
        let header =
            |name: &str, value: &str| Plan { headers: vec![(name.to_owned(), value.to_owned())], ..plan() };
        let path = |path: &str| Plan { target: Target { path: path.to_owned(), ..plan().target }, ..plan() };
        let method = |method: &str| Plan { method: method.to_owned(), ..plan() };
        let authority =
            |name: &str| Plan { target: Target { authority: name.to_owned(), ..plan().target }, ..plan() };
        for bad in [
            header("Host", "other"),
            header("Content-Length", "3"),
            header("x", "1\r\ny: 2"),
            header("x", "1\ny: 2"),
            header("x", "1\r\n\r\nGET / HTTP/1.1"),
            header("x y", "1"),
            header("", "1"),
            path("no-slash"),
            path("/a b"),
            path("/ HTTP/1.1\r\nx: y"),
            method(""),
            method("GET /other HTTP/1.1\r\nx: y\r\n\r\nGET"),
            authority("a\r\nb: c"),
        ] {
            assert!(encode(&bad).is_err(), "{bad:?}");
        }
    }
}
