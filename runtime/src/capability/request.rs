//! What requests to the host's own services have in common: percent-encoding, pages of lists, conditions by `ETag`.

use ::http::header::{CONTENT_LENGTH, IF_MATCH, IF_NONE_MATCH};
use ::http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

/// Identifies one write of a key or a blob. No two writes of a kind have the same version, even if they write the same.
/// It is shown as `ETag`.
pub type Version = i64;

/// The state that a key or a blob must have for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Any state.
    Any,
    /// It does not exist.
    Absent,
    /// It exists.
    Present,
    /// It has this version.
    At(Version),
}

impl Condition {
    /// Whether an entry with `version` meets it; `None`: there is no entry.
    pub fn is_met_by(self, version: Option<Version>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => version.is_none(),
            Self::Present => version.is_some(),
            Self::At(expected) => version == Some(expected),
        }
    }

    /// The condition in the headers of a change. The error says what is allowed.
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
    // Digits in quotation marks are always a valid header value.
    HeaderValue::try_from(tag_text(version)).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// The `ETag` of a version, as text.
pub fn tag_text(version: Version) -> String {
    format!("\"{version}\"")
}

/// The version that a strong `ETag` names: 0, which no entry has, for tags of other servers. `None` if it is no strong
/// tag.
pub fn version_of(tag: &str) -> Option<Version> {
    let text = tag.trim().strip_prefix('"')?.strip_suffix('"')?;
    Some(text.parse().unwrap_or(0))
}

/// The length of the body that the headers declare, in bytes.
pub fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Host memory to reserve for a body, and most bytes to read of it: the declared length, but not more than `most`.
pub fn room_for_body(headers: &HeaderMap, most: usize) -> usize {
    let declared = declared_bytes(headers).and_then(|bytes| usize::try_from(bytes).ok());
    declared.map_or(most, |bytes| bytes.min(most))
}

/// The page of a list that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Only names that begin with this.
    pub prefix: String,
    /// Only names that come after this, in the order of bytes.
    pub after: String,
    /// How many at most.
    pub limit: usize,
}

impl Listing {
    /// The page that a query asks for; `limit_max` is its default and largest length. The error says what is allowed.
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

/// The first value of `name` in a query.
pub fn value_of(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// A part of a path after percent-decoding.
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
