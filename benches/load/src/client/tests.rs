//! Tests connections over pipes that hold a byte or two, so that all orders of reading and writing occur.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::TcpListener;

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

fn piped(capacity: usize) -> (Connection, DuplexStream) {
    let (near, far) = duplex(capacity);
    (Connection { stream: Box::new(near), buffer: vec![0; HEAD_BYTES_MAX].into(), filled: 0 }, far)
}

/// Sends `request` on the connection and reads the answer, while `server` does its part.
async fn exchange(
    connection: &mut Connection,
    request: &[u8],
    server: impl Future<Output = ()>,
) -> Result<Answer, Failure> {
    tokio::join!(connection.exchange(request, false), server).0
}

#[tokio::test]
async fn requests_and_answers_pass_in_any_pieces() {
    let answers = [b"HTTP/1.1 100 Continue\r\n\r\n", ANSWER].concat();
    for capacity in 1..=answers.len() {
        let (mut connection, mut far) = piped(capacity);
        for request in [b"first request".as_slice(), b"the second"] {
            let answer = exchange(&mut connection, request, async {
                let mut received = vec![0; request.len()];
                far.read_exact(&mut received).await.unwrap();
                assert_eq!(received, request);
                far.write_all(&answers).await.unwrap();
            });
            let answer = answer.await.unwrap();
            let expected = (200, true, answers.len() as u64);
            assert_eq!((answer.status, answer.is_reusable, answer.bytes), expected, "{capacity}");
            assert!(connection.is_quiet().await);
        }
    }
}

#[tokio::test]
async fn a_server_that_answers_before_it_reads_is_no_deadlock() {
    let (mut connection, mut far) = piped(16);
    let request = vec![b'x'; 100_000];
    let answer = exchange(&mut connection, &request, async {
        let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{}", "y".repeat(100_000));
        far.write_all(&long.as_bytes()[..99_000]).await.unwrap();
        let mut received = vec![0; request.len()];
        far.read_exact(&mut received).await.unwrap();
        far.write_all(&long.as_bytes()[99_000..]).await.unwrap();
    });
    assert!(answer.await.unwrap().is_reusable);
}

#[tokio::test]
async fn an_answer_to_half_a_request_counts_and_ends_the_connection() {
    for stays_open in [true, false] {
        let (mut connection, mut far) = piped(64);
        let answer = exchange(&mut connection, &[b'x'; 1_000], async {
            far.write_all(ANSWER).await.unwrap();
            if !stays_open {
                drop(far);
            }
        });
        let answer = answer.await.unwrap();
        assert_eq!((answer.status, answer.is_reusable), (200, false));
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_not_taken_for_the_next() {
    // If more comes together with the answer, the connection is not used again. If it comes later, the connection is
    // not quiet.
    let (mut connection, mut far) = piped(1_000);
    let answer = exchange(&mut connection, b"x", async {
        far.write_all(&[ANSWER, b"HTTP/1.1 200"].concat()).await.unwrap();
    });
    assert!(!answer.await.unwrap().is_reusable);

    let (mut connection, mut far) = piped(1_000);
    far.write_all(ANSWER).await.unwrap();
    assert!(connection.exchange(b"x", false).await.unwrap().is_reusable);
    assert!(connection.is_quiet().await);
    far.write_all(b"H").await.unwrap();
    assert!(!connection.is_quiet().await);

    let (mut connection, far) = piped(1_000);
    assert!(connection.is_quiet().await);
    drop(far);
    assert!(!connection.is_quiet().await);
}

#[tokio::test]
async fn a_connection_that_ends_early_has_closed() {
    for length in 0..ANSWER.len() {
        let (mut connection, mut far) = piped(1_000);
        far.write_all(&ANSWER[..length]).await.unwrap();
        let answer = exchange(&mut connection, b"x", async { drop(far) });
        assert_eq!(answer.await, Err(Failure::Closed), "after {length} bytes");
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_made_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = Request {
        addresses: vec![listener.local_addr().unwrap()],
        tls: None,
        bytes: Bytes::from_static(b"request"),
        is_head: false,
        timeout: Duration::from_secs(60),
    };
    let (closed, far) = piped(1);
    drop(far);
    let mut client = Client { request: Arc::new(request), kept: Some(closed) };
    let connection = client.connect().await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    far.write_all(ANSWER).await.unwrap();
    assert_eq!(client.exchange(connection).await.unwrap().status, 200);
    // The next request uses the same connection.
    let connection = client.connect().await.unwrap();
    far.write_all(ANSWER).await.unwrap();
    assert_eq!(client.exchange(connection).await.unwrap().status, 200);
}
