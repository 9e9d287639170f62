//! HTTP by the table: raw requests, and what has to come back, walked through RFC 9110, 9112 and 3875. Where they leave a
//! choice, what nginx does. The rows are in the files of this folder, one for each part of a message; the tests here send
//! them straight to a host, and `http_proxies` sends them through nginx and haproxy.

mod answers;
mod bodies;
mod framing;
mod heads;

use crate::harness::{Answer, Connection, Host, until};

/// What one client writes to a connection of its own, and what has to come back.
pub struct Row {
    pub name: &'static str,
    /// Everything that is written, at once.
    pub sent: Vec<u8>,
    pub expected: Vec<Expected>,
    pub then: Then,
    /// Whether proxies pass the requests on as they are, rather than answering by themselves.
    pub passes_proxies: bool,
}

/// What becomes of the connection after the answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It serves another request.
    Open,
    /// It ends in order.
    Closed,
    /// The client has not said all it has to, or has said its last word; nothing more comes.
    Nothing,
}

/// One answer.
#[derive(Default)]
pub struct Expected {
    pub status: u16,
    method: &'static str,
    /// Fields that it has, as `name: value`.
    fields: Vec<&'static str>,
    /// Fields that it lacks.
    lacks: Vec<&'static str>,
    body: Option<Vec<u8>>,
    /// A word of its body.
    part: &'static str,
}

impl Expected {
    pub fn field(mut self, field: &'static str) -> Self {
        self.fields.push(field);
        self
    }

    pub fn without(mut self, name: &'static str) -> Self {
        self.lacks.push(name);
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub fn with(mut self, part: &'static str) -> Self {
        self.part = part;
        self
    }

    #[track_caller]
    fn check(&self, row: &str, answer: &Answer) {
        let text = answer.text();
        assert_eq!(answer.status, self.status, "{row}: {answer:?} {text:.300}");
        for field in &self.fields {
            let (name, value) = field.split_once(": ").unwrap();
            assert_eq!(answer.header(name), Some(value), "{row}: {answer:?}");
        }
        for name in &self.lacks {
            assert_eq!(answer.header(name), None, "{row}: {answer:?}");
        }
        if let Some(body) = &self.body {
            assert_eq!(&answer.body, body, "{row}: {text:.300}");
        }
        assert!(text.contains(self.part), "{row}: no {:?} in {text:.300}", self.part);
        assert!(!text.contains("TOPSECRET"), "{row}: {text:.300}");
    }
}

/// An answer of this status.
pub fn answer(status: u16) -> Expected {
    Expected { status, method: "GET", ..Expected::default() }
}

/// An answer to a HEAD.
pub fn head_answer(status: u16) -> Expected {
    Expected { status, method: "HEAD", ..Expected::default() }
}

/// An answer of the host with this code.
pub fn refusal(status: u16, code: &'static str) -> Expected {
    answer(status).field("content-type: application/json").with(code)
}

/// A row that reaches the host through proxies, too, after which the connection serves on.
pub fn row(name: &'static str, sent: impl Into<Vec<u8>>, expected: impl Into<Vec<Expected>>) -> Row {
    Row { name, sent: sent.into(), expected: expected.into(), then: Then::Open, passes_proxies: true }
}

impl Row {
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }

    /// For requests to which proxies have an answer, or a connection, of their own.
    pub fn direct(mut self) -> Self {
        self.passes_proxies = false;
        self
    }

    /// Sends the row to `address` and checks what comes back. Through a proxy that is as many answers, of the same
    /// statuses and with the same bodies; how connections end is its own business.
    pub fn check(&self, address: &str, is_direct: bool) {
        let mut connection = Connection::open(address);
        connection.write(&self.sent);
        if self.then == Then::Nothing {
            connection.half_close();
        }
        for (number, expected) in self.expected.iter().enumerate() {
            let name = format!("{}, answer {}", self.name, number + 1);
            let answer = connection.read_answer_to(expected.method);
            let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
            if !is_direct {
                assert_eq!(answer.status, expected.status, "{name}: {answer:?} {:.300}", answer.text());
                if let Some(body) = &expected.body {
                    assert_eq!(&answer.body, body, "{name}");
                }
                continue;
            }
            expected.check(&name, &answer);
            if expected.status >= 200 {
                assert_eq!(answer.header("wfn-invocation").map(str::len), Some(16), "{name}: {answer:?}");
                assert!(answer.header("date").is_some(), "{name}: {answer:?}");
                let is_last = number + 1 == self.expected.len();
                let says_so = answer.header("connection") == Some("close");
                assert!(
                    !says_so || (is_last && self.then != Then::Open),
                    "{name} says close, and is not the last: {answer:?}"
                );
            }
        }
        if is_direct && self.then == Then::Open {
            connection.write(b"GET /p2/ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            let next =
                connection.read_answer().unwrap_or_else(|error| panic!("{}, next: {error}", self.name));
            assert_eq!((next.status, next.text().as_str()), (200, "ok\n"), "{}, next", self.name);
        }
        if is_direct {
            let rest = connection.read_to_end();
            let rest = rest.unwrap_or_else(|error| panic!("{}: not ended in order: {error}", self.name));
            assert_eq!(String::from_utf8_lossy(&rest), "", "{}: more than was asked for", self.name);
        }
    }
}

/// All rows.
pub fn rows() -> Vec<Row> {
    [framing::rows(), heads::rows(), bodies::rows(), answers::rows()].into_iter().flatten().collect()
}

/// A host with what the rows ask: an app of each kind of guest, and programs.
pub fn host() -> Host {
    host_with(&[])
}

/// The same, started with `flags`.
pub fn host_with(flags: &[&str]) -> Host {
    let host = Host::start_with(flags);
    host.deploy_as("p2", "faults", &["--timeout", "20s"]);
    host.deploy_as("p3", "async-faults", &["--timeout", "20s"]);
    host.deploy_as("echo", "echo", &[]);
    answers::deploy_programs(&host);
    host
}

#[test]
fn every_row_is_answered_as_it_should_be() {
    let host = host();
    for row in rows() {
        row.check(&host.functions, true);
    }
    for app in ["p2", "p3", "echo", "cgi-echo"] {
        until(app, || (host.number(app, "in_flight") == 0).then_some(()));
    }
}

#[test]
fn every_row_is_answered_as_it_should_be_however_it_is_cut() {
    let host = host();
    // One byte at a time is the hardest cut; long rows would take long.
    for row in rows().into_iter().filter(|row| row.sent.len() < 400 && row.then != Then::Nothing) {
        let mut connection = Connection::open(&host.functions);
        for byte in &row.sent {
            // A connection that has ended, because the row is refused before its end, takes no more.
            if connection.try_write(&[*byte]).is_err() {
                break;
            }
        }
        for expected in &row.expected {
            let answer = connection.read_answer_to(expected.method);
            let answer = answer.unwrap_or_else(|error| panic!("{}: {error}", row.name));
            expected.check(row.name, &answer);
        }
    }
}
