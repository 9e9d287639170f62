//! A plain HTTP/1.1 client over one connection, which does what it is told and no more.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::PATIENCE;

/// A request of the plain client.
pub struct Request {
    head: String,
    body: Vec<u8>,
}

/// A response, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn new(method: &str, path: &str) -> Self {
        Self { head: format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n"), body: Vec::new() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.head += &format!("content-length: {}\r\n", self.body.len());
        self
    }

    /// Sends on a connection of its own and reads the answer.
    #[track_caller]
    pub fn send(self, address: &str) -> Answer {
        let head = self.head.clone();
        self.try_send(address).unwrap_or_else(|error| panic!("no answer to {head:?}: {error}"))
    }

    /// The same with a host that may be killed meanwhile.
    pub fn try_send(self, address: &str) -> std::io::Result<Answer> {
        let mut connection = Connection::try_open(address)?;
        connection.try_write(format!("{}connection: close\r\n\r\n", self.head).as_bytes())?;
        connection.try_write(&self.body)?;
        connection.read_answer()
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The stable code of one of the host's own errors.
    #[track_caller]
    pub fn code(&self) -> String {
        let body: Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no error body: {self:?}"));
        body["error"]["code"].as_str().unwrap_or_else(|| panic!("no code: {self:?}")).to_owned()
    }

    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 200, "{self:?}: {}", self.text());
        self.text()
    }
}

/// A raw connection: for requests that no well-behaved client sends.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    #[track_caller]
    pub fn open(address: &str) -> Self {
        Self::try_open(address).unwrap()
    }

    pub fn try_open(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads until the other side closes.
    pub fn read_to_end(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).map(|_| bytes)
    }

    /// Reads up to `count` bytes.
    pub fn read_some(&mut self, count: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read = self.stream.read(&mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn read_line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Reads the head of a response, which has no body.
    pub fn read_head(&mut self) -> std::io::Result<Answer> {
        let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        let status_line = self.read_line()?;
        let status =
            status_line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Answer { status, headers, body: Vec::new() })
    }

    /// Reads one response with a `content-length`, chunked, or none; an error if it is cut.
    pub fn read_answer(&mut self) -> std::io::Result<Answer> {
        let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        let mut answer = self.read_head()?;
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let length = usize::from_str_radix(&self.read_line()?, 16).map_err(|_| invalid())?;
                let mut chunk = vec![0; length];
                self.stream.read_exact(&mut chunk)?;
                answer.body.extend(chunk);
                self.read_line()?;
                if length == 0 {
                    break;
                }
            }
        } else if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().map_err(|_| invalid())?];
            self.stream.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }
}
