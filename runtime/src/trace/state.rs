//! Passes on the header `tracestate` of W3C Trace Context, level 2: what other tracers note of a trace.
//!
//! The host adds nothing to it, and passes it on within the limits of the standard.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::limits;

/// Goes where `traceparent` goes.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Characters of a member's key, and as many of its value.
const PART_BYTES_MAX: usize = 256;
/// Members beyond this are the first to go.
const SHORT_BYTES_MAX: usize = 128;

/// Replaces what came by what is passed on: one header, or none.
pub fn bound(headers: &mut HeaderMap) {
    if !headers.contains_key(TRACESTATE) {
        return;
    }
    let given = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok());
    let kept = given.collect::<Option<Vec<&str>>>().and_then(|given| kept(&given));
    match kept.and_then(|kept| HeaderValue::try_from(kept).ok()) {
        Some(kept) => drop(headers.insert(TRACESTATE, kept)),
        None => drop(headers.remove(TRACESTATE)),
    }
}

/// Returns what is passed on of these headers; `None` if a member is malformed or there are too many, because all of it is
/// dropped then. If it is too long, long members are left out first, then the last ones.
fn kept(headers: &[&str]) -> Option<String> {
    let parts = headers.iter().flat_map(|header| header.split(','));
    // Empty ones are allowed.
    let mut members: Vec<&str> =
        parts.map(|part| part.trim_matches([' ', '\t'])).filter(|part| !part.is_empty()).collect();
    if members.len() > limits::TRACE_STATE_MEMBERS_MAX || !members.iter().all(|member| is_member(member)) {
        return None;
    }
    while length(&members) > limits::TRACE_STATE_BYTES_MAX {
        let long = members.iter().rposition(|member| member.len() > SHORT_BYTES_MAX);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    (!members.is_empty()).then(|| members.join(","))
}

/// With a comma between any two.
fn length(members: &[&str]) -> usize {
    let with_commas: usize = members.iter().map(|member| member.len() + 1).sum();
    with_commas.saturating_sub(1)
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let is_key = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let is_value = |byte: u8| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    let has_length = |part: &str| (1..=PART_BYTES_MAX).contains(&part.len());
    has_length(key)
        && has_length(value)
        && key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && key.bytes().all(is_key)
        && value.bytes().all(is_value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_has_the_form_of_the_standard_is_passed_on() {
        let long_key = format!("{}=1", "k".repeat(256));
        let long_value = format!("k={}", "v".repeat(256));
        for same in [
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
            "fw529a3039@dt=FfAxZ;p:\"1\"",
            "0_-*/@=!  ~",
            long_key.as_str(),
            long_value.as_str(),
        ] {
            assert_eq!(kept(&[same]).as_deref(), Some(same), "{same}");
        }
        assert_eq!(kept(&["a=1 ,\t,, b=2", " c=3", ""]).as_deref(), Some("a=1,b=2,c=3"));
        assert_eq!(kept(&["", " ,"]), None);
    }

    #[test]
    fn one_wrong_member_is_the_end_of_all() {
        let (key, value) = ("k".repeat(257), "v".repeat(257));
        for wrong in [
            "a",
            "a=",
            "=1",
            "A=1",
            "_a=1",
            "a b=1",
            "a=1=2",
            "a=ü",
            "a=\u{7f}",
            &format!("{key}=1"),
            &format!("k={value}"),
        ] {
            assert_eq!(kept(&["good=1", wrong]), None, "{wrong}");
        }
    }

    #[test]
    fn thirty_two_members_and_no_more() {
        let of = |count: usize| (0..count).map(|number| format!("k{number}=1")).collect::<Vec<_>>().join(",");
        assert_eq!(kept(&[&of(32)]), Some(of(32)));
        assert_eq!(kept(&[&of(33)]), None);
        assert_eq!(kept(&[&of(32), "k=1"]), None, "in two headers");
    }

    #[test]
    fn long_members_go_before_the_last_ones() {
        let (long, short) = (format!("l={}", "x".repeat(127)), format!("s={}", "x".repeat(126)));
        assert_eq!((long.len(), short.len()), (129, 128));
        let join =
            |members: &[&String]| members.iter().map(|member| member.as_str()).collect::<Vec<_>>().join(",");
        let given = join(&[&short, &long, &short, &short]);
        assert_eq!(kept(&[&given]), Some(join(&[&short, &short, &short])));
        let given = join(&[&short, &short, &short, &short]);
        assert_eq!(given.len(), 515);
        assert_eq!(kept(&[&given]), Some(join(&[&short, &short, &short])));
    }

    #[test]
    fn headers_become_one_or_none() {
        let mut headers = HeaderMap::new();
        bound(&mut headers);
        assert!(headers.is_empty());
        for value in ["a=1", "b=2"] {
            headers.append(TRACESTATE, HeaderValue::from_static(value));
        }
        bound(&mut headers);
        assert_eq!((headers.len(), headers[TRACESTATE].as_bytes()), (1, &b"a=1,b=2"[..]));
        headers.append(TRACESTATE, HeaderValue::from_bytes(b"c=\xff").unwrap());
        bound(&mut headers);
        assert!(headers.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_kept_is_within_the_bounds_and_is_kept_again(
            members in proptest::collection::vec("[a-z0-9][a-z@]{0,60}=[!-+.-<>-~]{1,200}", 0..34),
        ) {
            if let Some(text) = kept(&[&members.join(",")]) {
                prop_assert!(text.len() <= 512 && members.len() <= 32);
                prop_assert!(text.split(',').all(|member| members.iter().any(|given| given == member)));
                prop_assert_eq!(kept(&[&text]), Some(text));
            } else {
                prop_assert!(members.is_empty() || members.len() > 32);
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,600}") {
            if let Some(kept) = kept(&[&text]) {
                prop_assert!(HeaderValue::try_from(kept).is_ok());
            }
        }
    }
}
