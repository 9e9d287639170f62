//! What writer and reader of a body see of each other.

use super::*;
use futures_util::FutureExt;
use proptest::prelude::*;

fn body(promised: Option<u64>) -> (OutgoingBody, DynOutputStream, HyperOutgoingBody) {
    let (mut body, reader) = OutgoingBody::new(StreamContext::Response, promised, &Arc::default());
    let stream = body.take_stream().expect("the first");
    assert!(body.take_stream().is_none(), "there is one");
    (body, stream, reader)
}

/// What is there now: bytes of a piece, or the end; nothing if the reader has to wait.
fn read(reader: &mut HyperOutgoingBody) -> Option<Option<Result<Bytes, String>>> {
    let frame = reader.frame().now_or_never()?;
    Some(frame.map(|frame| match frame {
        Ok(frame) => Ok(frame.into_data().unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    }))
}

proptest! {
    #[test]
    fn what_is_written_is_read_in_order_and_a_bounded_number_of_pieces_waits(
        steps in proptest::collection::vec(proptest::option::of(0usize..4), 0..60),
    ) {
        let (body, mut stream, mut reader) = body(None);
        let (mut written, mut seen, mut waiting) = (Vec::new(), Vec::new(), 0);
        for (step, length) in steps.into_iter().enumerate() {
            match length {
                Some(length) if stream.check_write().unwrap() > 0 => {
                    let piece = vec![step as u8; length];
                    stream.write(piece.clone().into()).unwrap();
                    waiting += usize::from(length > 0);
                    written.extend(piece);
                    prop_assert!(waiting <= limits::RESPONSE_CHUNKS);
                }
                Some(_) => {
                    prop_assert_eq!(waiting, limits::RESPONSE_CHUNKS);
                    prop_assert!(stream.ready().now_or_never().is_none());
                    prop_assert!(stream.write(Bytes::new()).is_err(), "a write without a permit traps");
                }
                None => match read(&mut reader) {
                    Some(piece) => {
                        seen.extend(piece.unwrap().unwrap());
                        waiting -= 1;
                    }
                    None => prop_assert_eq!(waiting, 0),
                },
            }
        }
        body.finish(None).unwrap();
        while let Some(piece) = read(&mut reader).expect("it has ended") {
            seen.extend(piece.unwrap());
        }
        prop_assert_eq!(seen, written);
    }
}

#[test]
fn a_body_keeps_to_its_length() {
    let (short, mut stream, mut reader) = body(Some(3));
    stream.write("ab".into()).unwrap();
    assert!(matches!(short.finish(None), Err(ErrorCode::HttpResponseBodySize(Some(2)))));
    assert_eq!(read(&mut reader), Some(Some(Ok("ab".into()))));
    assert!(matches!(read(&mut reader), Some(Some(Err(_)))), "it is cut");

    let (_long, mut stream, _reader) = body(Some(1));
    assert!(matches!(stream.write("ab".into()), Err(StreamError::LastOperationFailed(_))));
}

#[tokio::test]
async fn whoever_waits_is_woken() {
    let (body, mut stream, mut reader) = body(None);
    let read = tokio::spawn(async move {
        let frame = reader.frame().await.expect("a piece").expect("whole");
        (frame.into_data().expect("bytes"), reader)
    });
    tokio::task::yield_now().await;
    stream.write("a".into()).unwrap();
    let (piece, reader) = read.await.unwrap();
    assert_eq!(piece, "a");
    for _ in 0..limits::RESPONSE_CHUNKS {
        stream.write("b".into()).unwrap();
    }
    let ready = tokio::spawn(async move {
        stream.ready().await;
        stream
    });
    tokio::task::yield_now().await;
    drop(reader);
    let mut stream = ready.await.unwrap();
    assert!(matches!(stream.check_write(), Err(StreamError::Closed)));
    drop(body);
}

#[test]
fn an_aborted_body_is_not_whole_and_trailers_end_one() {
    let (aborted, _stream, mut reader) = body(None);
    aborted.abort();
    assert!(matches!(read(&mut reader), Some(Some(Err(_)))));

    let (trailed, _stream, mut reader) = body(None);
    let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))]);
    trailed.finish(Some(trailers.clone())).unwrap();
    let frame = reader.frame().now_or_never().flatten().unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap(), trailers);
    assert_eq!(read(&mut reader), Some(None));
}

#[test]
fn a_length_is_digits() {
    for (text, bytes) in [("0", Some(0)), ("12", Some(12)), ("+1", None), ("", None), ("1a", None)] {
        assert_eq!(bytes_of(&HeaderValue::from_static(text)), bytes, "{text:?}");
    }
}
