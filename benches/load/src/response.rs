//! Reads answers as their bytes come in, and keeps what is counted (RFC 9112, section 6.3).

use httparse::{EMPTY_HEADER, Header, Status};

use crate::chunks::{Chunks, Malformed};

/// Most bytes of the head of an answer, and length of the buffer for it.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 96;
/// Most bytes of an outcome, which is a short word.
const OUTCOME_BYTES_MAX: usize = 32;
/// The header that says how an invocation ended, when the host itself answers (SPEC 9).
const OUTCOME: &str = "wfn-outcome";

/// What is counted of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub status: u16,
    /// The value of `wfn-outcome`.
    pub outcome: Option<String>,
    /// Whether the connection may be used again.
    pub is_reusable: bool,
    /// Head and body as they came, in bytes.
    pub bytes: u64,
}

/// One answer, as much of it as has come.
#[derive(Debug)]
pub(crate) struct Reader {
    has_no_body: bool,
    bytes: u64,
    /// Known when the head has come.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    status: u16,
    outcome: Option<String>,
    is_reusable: bool,
    body: Body,
}

/// What is still to come of the body.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

impl Reader {
    /// A reader before the first byte of an answer. The answer to a HEAD request has no body.
    pub fn new(has_no_body: bool) -> Self {
        Self { has_no_body, bytes: 0, begun: None }
    }

    /// Reads `bytes`. Returns how many of them are used, and the answer if this is its end. Bytes that are not used
    /// have to come again with the next call, before new ones.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(usize, Option<Answer>), Malformed> {
        let mut taken = 0;
        while self.begun.is_none() {
            let Some((length, begun)) = parse_head(&bytes[taken..], self.has_no_body)? else { break };
            taken += length;
            // An interim answer (1xx) comes before the one that counts.
            self.begun = (begun.status >= 200).then_some(begun);
        }
        if let Some(Begun { body, .. }) = &mut self.begun {
            taken += body.skip(&bytes[taken..])?;
        }
        self.bytes += taken as u64;
        let ends_with = |body: &Body| matches!(body, Body::Length(0) | Body::Chunked(Chunks::Over));
        Ok((taken, self.finish_if(ends_with)))
    }

    /// Call this when the connection is closed. Returns the answer, if that is how it ends.
    pub fn close(&mut self) -> Option<Answer> {
        self.finish_if(|body| *body == Body::UntilClose)
    }

    fn finish_if(&mut self, ends_with: impl Fn(&Body) -> bool) -> Option<Answer> {
        let begun = self.begun.take_if(|begun| ends_with(&begun.body))?;
        let Begun { status, outcome, is_reusable, .. } = begun;
        Some(Answer { status, outcome, is_reusable, bytes: self.bytes })
    }
}

impl Body {
    fn skip(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => {
                let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= step as u64;
                Ok(step)
            }
            Self::Chunked(chunks) => chunks.skip(bytes),
            Self::UntilClose => Ok(bytes.len()),
        }
    }
}

/// Parses the head at the beginning of `bytes`. Returns its length and what it says, once all of it has come.
fn parse_head(bytes: &[u8], has_no_body: bool) -> Result<Option<(usize, Begun)>, Malformed> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes).map_err(|_| Malformed)? {
        Status::Complete(length) => length,
        Status::Partial if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Status::Partial => return Err(Malformed),
    };
    // 101 is malformed, because nobody asked to switch protocols.
    let status = response.code.filter(|code| *code >= 100 && *code != 101).ok_or(Malformed)?;
    let mut said = Said::default();
    for header in response.headers.iter() {
        said.note(header)?;
    }
    let body = match (said.transfer, said.length) {
        _ if has_no_body || matches!(status, 204 | 304) => Body::Length(0),
        (Some(Transfer::Chunked), _) => Body::Chunked(Chunks::START),
        (None, Some(length)) => Body::Length(length),
        (Some(Transfer::Other), _) | (None, None) => Body::UntilClose,
    };
    let keeps_alive = said.keeps_alive.unwrap_or(response.version == Some(1));
    let is_reusable = keeps_alive && body != Body::UntilClose;
    Ok(Some((length, Begun { status, outcome: said.outcome, is_reusable, body })))
}

/// What the headers say about the end of the answer, and its outcome.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    /// The last transfer coding.
    transfer: Option<Transfer>,
    keeps_alive: Option<bool>,
    outcome: Option<String>,
}

#[derive(Clone, Copy)]
enum Transfer {
    Chunked,
    Other,
}

impl Said {
    fn note(&mut self, header: &Header<'_>) -> Result<(), Malformed> {
        let Header { name, value } = header;
        // Most other headers differ from these in length already.
        if name.eq_ignore_ascii_case("content-length") {
            let length = number(value).ok_or(Malformed)?;
            if self.length.is_some_and(|before| before != length) {
                return Err(Malformed);
            }
            self.length = Some(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            for coding in items(value) {
                let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
                self.transfer = Some(if is_chunked { Transfer::Chunked } else { Transfer::Other });
            }
        } else if name.eq_ignore_ascii_case("connection") {
            for option in items(value) {
                if option.eq_ignore_ascii_case(b"close") {
                    self.keeps_alive = Some(false);
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    self.keeps_alive.get_or_insert(true);
                }
            }
        } else if name.eq_ignore_ascii_case(OUTCOME) {
            let value = &value[..value.len().min(OUTCOME_BYTES_MAX)];
            self.outcome = Some(String::from_utf8_lossy(value).into_owned());
        }
        Ok(())
    }
}

fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Accepts digits only: signs and spaces are not part of a length.
fn number(value: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests;
