//! Finds the end of a chunked body, however its bytes are split (RFC 9112, section 7.1).

/// Most bytes of one chunk extension or trailer.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Most digits of a chunk's size. More are not a valid size.
const SIZE_DIGITS_MAX: u32 = 15;

/// What came is not valid HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The position of the next byte in the body. `usize` counts the bytes of a line so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunks {
    Size { size: u64, digits: u32 },
    Extension { size: u64, length: usize },
    SizeNewline { size: u64 },
    Data { left: u64 },
    DataReturn,
    DataNewline,
    TrailerStart,
    Trailer { length: usize },
    TrailerNewline,
    LastNewline,
    Over,
}

impl Chunks {
    /// The state before the first byte of the body.
    pub const START: Self = Self::Size { size: 0, digits: 0 };

    /// Reads `bytes`, at most to the end of the body. Returns how many it has read.
    pub fn skip(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while *self != Self::Over && at < bytes.len() {
            if let Self::Data { left } = self {
                let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                *left -= step as u64;
                at += step;
                if *left == 0 {
                    *self = Self::DataReturn;
                }
            } else {
                *self = self.after(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// The state after one byte that is not data.
    fn after(self, byte: u8) -> Result<Self, Malformed> {
        Ok(match (self, byte) {
            (Self::Size { size, digits: 1.. }, b'\r') => Self::SizeNewline { size },
            (Self::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => Self::Extension { size, length: 0 },
            (Self::Size { size, digits: digits @ 0..SIZE_DIGITS_MAX }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                Self::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            (Self::Extension { size, .. }, b'\r') => Self::SizeNewline { size },
            (Self::Extension { size, length: length @ 0..LINE_BYTES_MAX }, _) if byte != b'\n' => {
                Self::Extension { size, length: length + 1 }
            }
            (Self::SizeNewline { size: 0 }, b'\n') => Self::TrailerStart,
            (Self::SizeNewline { size }, b'\n') => Self::Data { left: size },
            (Self::DataReturn, b'\r') => Self::DataNewline,
            (Self::DataNewline, b'\n') => Self::START,
            (Self::TrailerStart, b'\r') => Self::LastNewline,
            (Self::TrailerStart, _) if byte != b'\n' => Self::Trailer { length: 1 },
            (Self::Trailer { .. }, b'\r') => Self::TrailerNewline,
            (Self::Trailer { length: length @ 0..LINE_BYTES_MAX }, _) if byte != b'\n' => {
                Self::Trailer { length: length + 1 }
            }
            (Self::TrailerNewline, b'\n') => Self::TrailerStart,
            (Self::LastNewline, b'\n') => Self::Over,
            _ => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(body: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut chunks = Chunks::START;
        let length = chunks.skip(body)?;
        Ok((length, chunks == Chunks::Over))
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bad in [
            "\r\n",
            ";a\r\n",
            "g\r\n",
            "-1\r\n",
            "3\nabc",
            "3\r\rabc",
            "3;a\nabc",
            "3\r\nabcd",
            "3\r\nabc\n",
            "3\r\nabc\r\r",
            "0\r\n\n",
            "0\r\na: b\n\r\n",
            "0\r\na: b\r\r\n",
            "0\r\n\r\r",
            "ffffffffffffffff\r\n",
        ] {
            assert_eq!(whole(bad.as_bytes()), Err(Malformed), "{bad:?}");
        }
        let long = "a".repeat(LINE_BYTES_MAX + 1);
        assert_eq!(whole(format!("1;{long}\r\n").as_bytes()), Err(Malformed));
        assert_eq!(whole(format!("0\r\n{long}\r\n").as_bytes()), Err(Malformed));
    }

    #[test]
    fn a_body_that_ends_early_is_not_over() {
        let body = b"1;a\r\nx\r\n0\r\na: b\r\n\r\n";
        for length in 0..body.len() {
            assert_eq!(whole(&body[..length]), Ok((length, false)));
        }
        assert_eq!(whole(body), Ok((body.len(), true)));
    }

    fn chunked() -> impl Strategy<Value = Vec<u8>> {
        let chunk = (prop::collection::vec(any::<u8>(), 1..40), "(;[a-z=\" ]{0,9})?", any::<bool>());
        let trailer = "([a-z]{1,5}: [ -~]{0,9}\r\n){0,3}";
        (prop::collection::vec(chunk, 0..6), trailer).prop_map(|(chunks, trailer)| {
            let mut body = Vec::new();
            for (data, extension, is_upper) in chunks {
                let size = data.len();
                let size = if is_upper { format!("{size:X}") } else { format!("0{size:x}") };
                body.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
                body.extend_from_slice(&data);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
            body
        })
    }

    proptest! {
        #[test]
        fn the_end_is_found_in_any_pieces(body in chunked(), rest in "[a-z0-9\r\n]{0,9}", cuts in any::<u64>()) {
            let mut bytes = body.clone();
            bytes.extend_from_slice(rest.as_bytes());
            let mut chunks = Chunks::START;
            let (mut taken, mut from) = (0, 0);
            for at in 1..=bytes.len() {
                if at == bytes.len() || cuts >> (at % 64) & 1 == 1 {
                    taken += chunks.skip(&bytes[from..at]).unwrap();
                    prop_assert_eq!(chunks == Chunks::Over, at >= body.len());
                    from = at;
                }
            }
            prop_assert_eq!(taken, body.len());
        }
    }
}
