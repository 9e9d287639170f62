//! Heads and frames that nobody would send: the host answers or ends the connection, in bounded time, never with a 5xx that
//! is not the request's own doing, and serves on.
//!
//! The seed is fixed, so that what fails once fails again; `WFN_FUZZ_SECONDS` makes it longer.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::harness::{Connection, Host, Request};

/// What mutations begin with: requests as they are sent.
const SEEDS: [&str; 6] = [
    "GET /hello/a?b=c HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
    "POST /hello/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
    "POST /hello/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nx: y\r\n\r\n",
    "HEAD http://x/hello/ HTTP/1.0\r\nHost: x\r\nCookie: a=b\r\nExpect: 100-continue\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: x:80\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
    "GET /hello/ HTTP/1.1\r\nHost: x\r\n\r\nGET /nobody HTTP/1.1\r\nHost: y\r\n\r\n",
];

/// Pieces that mean something in a head.
const PIECES: [&str; 22] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ": ",
    "\r\n\r\n",
    "HTTP/1.1",
    "HTTP/9.9",
    "GET ",
    "*",
    "//",
    "%00",
    "..",
    "Host: y\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close\r\n",
];

fn mutated(numbers: &mut Rng) -> Vec<u8> {
    let mut bytes = SEEDS[numbers.usize(0..SEEDS.len())].as_bytes().to_vec();
    for _ in 0..=numbers.usize(0..4) {
        let at = numbers.usize(0..=bytes.len());
        match numbers.usize(0..7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, numbers.u8(..)),
            2 if at < bytes.len() => bytes[at] ^= 1 << numbers.u8(0..8),
            3 => drop(bytes.splice(at..at, PIECES[numbers.usize(0..PIECES.len())].bytes())),
            4 => {
                let end = (at + numbers.usize(0..20)).min(bytes.len());
                drop(bytes.drain(at..end));
            }
            5 => {
                let end = (at + numbers.usize(0..40)).min(bytes.len());
                let copy = bytes[at..end].repeat(numbers.usize(1..=3));
                drop(bytes.splice(at..at, copy));
            }
            _ => drop(bytes.splice(at..at, vec![b'x'; [1, 300, 5_000, 70_000][numbers.usize(0..4)]])),
        }
    }
    bytes
}

fn seconds() -> Duration {
    let seconds = std::env::var("WFN_FUZZ_SECONDS").map_or(7, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

/// Sends `bytes`, says that this was all, and gives what comes back until the end.
fn exchange(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut connection = Connection::open(address);
    // It may be refused before its end.
    let _ = connection.try_write(bytes);
    connection.half_close();
    match connection.read_to_end() {
        Ok(answers) => answers,
        // A connection that ends has ended; one that does not has hung.
        Err(error) => {
            assert_ne!(
                error.kind(),
                std::io::ErrorKind::WouldBlock,
                "no end to {:?}",
                String::from_utf8_lossy(bytes)
            );
            Vec::new()
        }
    }
}

#[test]
fn mutated_heads_are_answered_or_end_and_the_host_serves_on() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let mut numbers = Rng::with_seed(1);
    let begun = Instant::now();
    let mut sent = 0;
    while sent < 500 || begun.elapsed() < seconds() {
        let bytes = mutated(&mut numbers);
        let shown =
            || format!("number {sent}: {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(500)]));
        let answers = exchange(&host.functions, &bytes);
        let text = String::from_utf8_lossy(&answers);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 ") || text.starts_with("HTTP/1.0 "),
            "{text} for {}",
            shown()
        );
        for status in text.split("HTTP/1.").skip(1).filter_map(|answer| answer.get(2..5)) {
            assert!(!status.starts_with('5') || matches!(status, "501" | "505"), "{status} for {}", shown());
        }
        if sent % 100 == 0 {
            assert_eq!(host.get("/hello/").ok(), "Hello from wfn!\n", "after {}", shown());
        }
        sent += 1;
    }
    assert_eq!(host.get("/hello/").ok(), "Hello from wfn!\n");
    assert_eq!((host.number("hello", "in_flight"), host.number("hello", "failed")), (0, 0));
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection with a request, as frames: the preface, settings, and a GET whose fields stand in the static table or
/// are literals.
fn frames() -> Vec<Vec<u8>> {
    let mut head = vec![0x82, 0x86, 0x44, 7];
    head.extend(b"/hello/");
    head.extend([0x41, 1, b'x']);
    vec![
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 5, 1, &head),
        frame(1, 4, 3, &head),
        frame(0, 1, 3, b"body"),
        frame(8, 0, 0, &1_000u32.to_be_bytes()),
        frame(6, 0, 0, b"12345678"),
        frame(3, 0, 3, &8u32.to_be_bytes()),
    ]
}

#[test]
fn mutated_frames_end_their_connection_at_most() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let mut numbers = Rng::with_seed(2);
    let begun = Instant::now();
    let mut sent = 0;
    while sent < 300 || begun.elapsed() < seconds() {
        let mut frames = frames();
        for _ in 0..numbers.usize(0..4) {
            let at = numbers.usize(1..frames.len());
            match numbers.usize(0..5) {
                0 => drop(frames.remove(at)),
                1 => frames.swap(at, 1),
                2 => frames.push(frames[at].clone()),
                3 => {
                    let (kind, flags) = (numbers.u8(0..11), numbers.u8(..));
                    let payload = vec![numbers.u8(..); numbers.usize(0..40)];
                    frames.insert(at, frame(kind, flags, numbers.u32(0..8), &payload));
                }
                _ => {
                    let byte = numbers.usize(0..frames[at].len());
                    frames[at][byte] ^= 1 << numbers.u8(0..8);
                }
            }
            if frames.len() < 3 {
                break;
            }
        }
        // Whatever comes, it ends when the client has ended.
        let mut stream = TcpStream::connect(&host.functions).unwrap();
        stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        let _ = std::io::Write::write_all(&mut stream, &frames.concat());
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        let is_hang = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_hang, "number {sent}: no end to {frames:?}");
        if sent % 100 == 0 {
            assert_eq!(Request::get("/hello/").send(&host.functions).ok(), "Hello from wfn!\n");
        }
        sent += 1;
    }
    assert_eq!(host.get("/hello/").ok(), "Hello from wfn!\n");
    assert_eq!((host.number("hello", "in_flight"), host.number("hello", "failed")), (0, 0));
}
