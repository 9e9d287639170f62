//! A small blocking HTTP/1.1 client: one keep-alive connection, with times as a caller measures them.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a client waits while nothing of an answer comes.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long a server may take to accept after it said that it is ready.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Most bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A request to send.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// With a body the request is a POST, without one a GET.
    pub body: Option<Vec<u8>>,
    /// The admin token, for the admin listener.
    pub token: Option<String>,
}

impl Request {
    /// A GET.
    pub fn get(path: &str) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }
}

/// An answer that was received.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body, if the status is 200.
    pub fn ok(self) -> Result<Vec<u8>> {
        if self.status != 200 {
            bail!("it answered {}: {}", self.status, String::from_utf8_lossy(&self.body).trim());
        }
        Ok(self.body)
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    received: Vec<u8>,
}

impl Connection {
    /// Connects once.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { stream, address, received: Vec::new() })
    }

    /// Connects as soon as `address` listens.
    pub fn open_when_ready(address: SocketAddr) -> Result<Self> {
        let until = Instant::now() + CONNECT_WITHIN;
        loop {
            match Self::open(address) {
                Ok(connection) => return Ok(connection),
                Err(error) if Instant::now() > until => {
                    return Err(error).with_context(|| format!("failed to connect to {address}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Sends `request` and waits for the whole answer. Returns it and how long it took.
    pub fn call(&mut self, request: &Request) -> Result<(Answer, Duration)> {
        let begun = Instant::now();
        self.send(request)?;
        let answer = self.receive()?;
        Ok((answer, begun.elapsed()))
    }

    /// Sends `request`.
    pub fn send(&mut self, request: &Request) -> io::Result<()> {
        let method = if request.body.is_some() { "POST" } else { "GET" };
        let mut head = format!("{method} {} HTTP/1.1\r\nhost: {}\r\n", request.path, self.address);
        if let Some(token) = &request.token {
            head += &format!("wfn-token: {token}\r\n");
        }
        if let Some(body) = &request.body {
            head += &format!("content-length: {}\r\n", body.len());
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend(request.body.iter().flatten());
        self.stream.write_all(&bytes)
    }

    /// Waits for the next answer.
    pub fn receive(&mut self) -> Result<Answer> {
        let head_length = self.receive_head()?;
        let head: Vec<u8> = self.received.drain(..head_length).collect();
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("not an answer: {head:.100}"))?;
        let value = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let body = match (value("content-length"), value("transfer-encoding")) {
            (Some(length), _) => {
                let length = length.parse().context("content-length is not a number")?;
                self.take(length)?
            }
            (None, Some("chunked")) => self.take_chunks()?,
            _ => bail!("an answer without a length"),
        };
        Ok(Answer { status, body })
    }

    fn receive_head(&mut self) -> Result<usize> {
        loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                return Ok(at + 4);
            }
            if self.received.len() > HEAD_BYTES_MAX {
                bail!("the head of the answer does not end");
            }
            self.receive_more()?;
        }
    }

    fn take_chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = self.received.windows(2).position(|window| window == b"\r\n") {
                    break self.received.drain(..at + 2).collect::<Vec<u8>>();
                }
                self.receive_more()?;
            };
            let size = String::from_utf8_lossy(&line);
            let size = size.trim().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).context("a chunk without a size")?;
            body.extend(self.take(size)?);
            // No trailers are asked for, so the last chunk ends like all others.
            self.take(2)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.received.len() < length {
            self.receive_more()?;
        }
        Ok(self.received.drain(..length).collect())
    }

    fn receive_more(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the connection ended before the answer"),
                Ok(length) => {
                    self.received.extend(&buffer[..length]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("failed to read the answer"),
            }
        }
    }
}
