//! Decides which bytes a `GET` gets, or whether it gets none: `Range`, `If-Range`, `If-Match`, `If-None-Match` (RFC 9110).

use std::ops::Range;

use ::http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use ::http::{HeaderMap, HeaderName};

use crate::capability::request::{Version, version_of};

/// What to answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All bytes.
    Whole,
    /// Some of them.
    Part(Range<u64>),
    /// No bytes: the client has this version.
    NotModified,
}

/// Why the request fails.
#[derive(Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The blob does not have the version that was asked for.
    Changed,
    /// The blob has none of these bytes; holds its length.
    Range(u64),
}

/// What the headers of a `GET` or `HEAD` ask of a blob with this `version` and a length of `bytes`.
pub fn wanted(headers: &HeaderMap, version: Version, bytes: u64) -> Result<Wanted, Unmet> {
    if names(headers, &IF_MATCH, version) == Some(false) {
        return Err(Unmet::Changed);
    }
    if names(headers, &IF_NONE_MATCH, version) == Some(true) {
        return Ok(Wanted::NotModified);
    }
    // The client cannot use a part of another version than the one it has.
    if names(headers, &IF_RANGE, version) == Some(false) {
        return Ok(Wanted::Whole);
    }
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(parse);
    match range {
        None => Ok(Wanted::Whole),
        Some(range) => range.within(bytes).map(Wanted::Part).ok_or(Unmet::Range(bytes)),
    }
}

/// Whether the tags of a header name this version; `None` without the header. A weak tag or a date names no version.
fn names(headers: &HeaderMap, name: &HeaderName, version: Version) -> Option<bool> {
    let mut tags = headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .peekable();
    tags.peek()?;
    Some(tags.any(|tag| tag.trim() == "*" || version_of(tag) == Some(version)))
}

/// A range as the header states it.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// From the first byte to the last, or to the end of the blob.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

impl Asked {
    /// The bytes that it means in a blob of `bytes`; `None` if there are none.
    fn within(&self, bytes: u64) -> Option<Range<u64>> {
        let range = match *self {
            Self::From(first, last) => first..last.map_or(bytes, |last| last.saturating_add(1)).min(bytes),
            Self::Last(count) => bytes.saturating_sub(count)..bytes,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// Reads one range of bytes. `None` for anything else, such as several ranges: the answer is then the whole blob (RFC
/// 9110, 14.2).
fn parse(text: &str) -> Option<Asked> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<u64>().ok(),
        false => None,
    };
    match (first, last) {
        ("", count) => Some(Asked::Last(number(count)?)),
        (first, "") => Some(Asked::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Asked::From(first, Some(last)))
        }
    }
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn asked(headers: &[(&'static str, &str)], bytes: u64) -> Result<Wanted, u64> {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        wanted(&headers.iter().map(header).collect(), 7, bytes).map_err(|error| match error {
            Unmet::Range(bytes) => bytes,
            Unmet::Changed => u64::MAX,
        })
    }

    #[test]
    fn ranges_are_those_of_the_standard() {
        for (range, expected) in [
            ("bytes=0-0", Ok(Wanted::Part(0..1))),
            ("bytes=2-", Ok(Wanted::Part(2..10))),
            ("bytes=2-99", Ok(Wanted::Part(2..10))),
            ("bytes=-3", Ok(Wanted::Part(7..10))),
            ("bytes=-99", Ok(Wanted::Part(0..10))),
            ("bytes=9-18446744073709551615", Ok(Wanted::Part(9..10))),
            ("bytes=10-", Err(10)),
            ("bytes=-0", Err(10)),
            ("bytes=3-2", Ok(Wanted::Whole)),
            ("bytes=0-1,3-4", Ok(Wanted::Whole)),
            ("bytes=+1-2", Ok(Wanted::Whole)),
            ("bytes=-", Ok(Wanted::Whole)),
            ("bytes=99999999999999999999-", Ok(Wanted::Whole)),
            ("lines=1-2", Ok(Wanted::Whole)),
        ] {
            assert_eq!(asked(&[("range", range)], 10), expected, "{range}");
        }
        assert_eq!(asked(&[("range", "bytes=0-")], 0), Err(0));
    }

    #[test]
    fn conditions_come_before_ranges() {
        for (name, value, expected) in [
            ("if-none-match", "\"7\"", Ok(Wanted::NotModified)),
            ("if-none-match", "\"6\", \"7\"", Ok(Wanted::NotModified)),
            ("if-none-match", "*", Ok(Wanted::NotModified)),
            ("if-none-match", "\"6\"", Ok(Wanted::Part(0..1))),
            ("if-match", "\"7\"", Ok(Wanted::Part(0..1))),
            ("if-match", "*", Ok(Wanted::Part(0..1))),
            ("if-match", "\"6\"", Err(u64::MAX)),
            ("if-match", "W/\"7\"", Err(u64::MAX)),
            ("if-range", "\"7\"", Ok(Wanted::Part(0..1))),
            ("if-range", "\"6\"", Ok(Wanted::Whole)),
            ("if-range", "Sat, 21 Nov 2026 21:00:00 GMT", Ok(Wanted::Whole)),
        ] {
            assert_eq!(asked(&[(name, value), ("range", "bytes=0-0")], 10), expected, "{name}: {value}");
        }
    }

    proptest! {
        #[test]
        fn every_range_lies_within_the_blob(range in "bytes=[0-9]{0,21}-[0-9]{0,21}", bytes in 0..1_000_u64) {
            if let Ok(Wanted::Part(part)) = asked(&[("range", &range)], bytes) {
                prop_assert!(part.start < part.end && part.end <= bytes);
            }
        }
    }
}
