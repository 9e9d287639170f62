//! What requests to the host's own services have in common: percent-encoding, pages of lists, conditions by `ETag`.

use ::http::header::{CONTENT_LENGTH, IF_MATCH, IF_NONE_MATCH};
use ::http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

/// Marks one write of a key or a blob: no two writes of a kind have the same, whatever is written. An `ETag` is one.
pub type Version = i64;

/// What a key or a blob has to be like for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Anything.
    Any,
    /// Not there.
    Absent,
    /// There.
    Present,
    /// As that write left it.
    At(Version),
}

impl Condition {
    /// Whether it holds for what has `version`, or is not there.
    pub fn is_met_by(self, version: Option<Version>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => version.is_none(),
            Self::Present => version.is_some(),
            Self::At(expected) => version == Some(expected),
        }
    }

    /// The condition that the headers of a change state. The error says what would be understood.
    pub fn of(headers: &HeaderMap) -> Result<Self, String> {
        match (headers.get(IF_MATCH), headers.get(IF_NONE_MATCH)) {
            (None, None) => Ok(Self::Any),
            (Some(tag), None) if tag == "*" => Ok(Self::Present),
            (None, Some(tag)) if tag == "*" => Ok(Self::Absent),
            (Some(tag), None) => {
                version_of(tag.to_str().unwrap_or_default()).map(Self::At).ok_or_else(|| {
                    "If-Match: use the ETag of one answer, in its quotation marks, or *".to_owned()
                })
            }
            _ => Err("If-None-Match: only * is understood, and not beside If-Match".to_owned()),
        }
    }
}

/// The `ETag` of a version.
pub fn tag_of(version: Version) -> HeaderValue {
    // Digits in quotation marks are always a header value.
    HeaderValue::try_from(tag_text(version)).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// The same as text.
pub fn tag_text(version: Version) -> String {
    format!("\"{version}\"")
}

/// The version that a strong `ETag` stands for: 0, which is none, for those of other servers. `None` if it is no tag.
pub fn version_of(tag: &str) -> Option<Version> {
    let text = tag.trim().strip_prefix('"')?.strip_suffix('"')?;
    Some(text.parse().unwrap_or(0))
}

/// Bytes of the body that a request declares to have.
pub fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Bytes that the host makes room for before it reads a body, and takes of it: what it declares to have, or `most`.
pub fn room_for_body(headers: &HeaderMap, most: usize) -> usize {
    let declared = declared_bytes(headers).and_then(|bytes| usize::try_from(bytes).ok());
    declared.map_or(most, |bytes| bytes.min(most))
}

/// Which page of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What begins with this alone.
    pub prefix: String,
    /// What comes after this alone, in the order of bytes.
    pub after: String,
    /// How many at most.
    pub limit: usize,
}

impl Listing {
    /// The page that a query names, with `limit_max` where it does not say how long. The error says what is allowed.
    pub fn of(query: &str, limit_max: usize) -> Result<Self, String> {
        let limit = match value_of(query, "limit") {
            Some(limit) => limit.parse().ok().filter(|limit| (1..=limit_max).contains(limit)),
            None => Some(limit_max),
        };
        let limit = limit.ok_or_else(|| format!("limit: use 1 to {limit_max}"))?;
        let text = |name| value_of(query, name).unwrap_or_default();
        Ok(Self { prefix: text("prefix"), after: text("after"), limit })
    }
}

/// The value of `name` in a query.
pub fn value_of(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// A part of a path without its percent-encoding.
pub fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_| "the path is not UTF-8 in percent-encoding")?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_one_tag_or_any() {
        let stated = |name: &'static str, value: &'static str| {
            Condition::of(&HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]))
        };
        assert_eq!(Condition::of(&HeaderMap::new()), Ok(Condition::Any));
        assert_eq!(stated("if-match", "*"), Ok(Condition::Present));
        assert_eq!(stated("if-match", "\"17\""), Ok(Condition::At(17)));
        assert_eq!(stated("if-match", "\"of another server\""), Ok(Condition::At(0)));
        assert_eq!(stated("if-none-match", "*"), Ok(Condition::Absent));
        for (name, value) in [("if-match", "17"), ("if-match", "W/\"17\""), ("if-none-match", "\"17\"")] {
            assert!(stated(name, value).is_err(), "{name}: {value}");
        }
        assert_eq!(version_of(tag_of(17).to_str().unwrap()), Some(17));
    }

    #[test]
    fn room_is_made_for_what_a_body_declares_or_for_the_most_it_may_be() {
        let room = |declared: &'static str| {
            room_for_body(&HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static(declared))]), 100)
        };
        assert_eq!((room("0"), room("99"), room("101")), (0, 99, 100));
        assert_eq!((room("many"), room("-1"), room_for_body(&HeaderMap::new(), 100)), (100, 100, 100));
    }
}
