//! Removes the values of secrets from text that anybody except the app's guests will see. Pure.
//!
//! Text is redacted whole, before it is cut or escaped, because half a value is still a part of it. Of text that comes in pieces,
//! such as a line without end, [`Redactor::longest`] bytes are held back, so that a value is complete when it is searched for.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::limits;

/// Finds the values of an app's secrets in text.
#[derive(Default)]
pub struct Redactor {
    /// `None` if there is nothing to search for.
    finder: Option<AhoCorasick>,
    /// The searched texts, each with the name of its secret. A value of several lines has one for each line; each also occurs in
    /// its escaped forms.
    values: Vec<(String, String)>,
    longest: usize,
}

/// A part of a text that belongs to a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret<'a> {
    /// Its position, in bytes.
    pub place: Range<usize>,
    /// The name of the secret; of the longest one, where several overlap.
    pub name: &'a str,
}

impl Redactor {
    /// Makes a redactor for secrets with these names and values. Fails if they are too many to search for.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut values: Vec<(String, String)> = Vec::new();
        for (name, value) in secrets {
            let lines = value.lines().map(str::trim);
            for line in lines.filter(|line| line.len() >= limits::SECRET_REDACTED_BYTES_MIN) {
                let mut looks = vec![line.to_owned()];
                looks.extend(escaped(line).into_iter().filter(|look| look != line));
                looks.dedup();
                values.extend(looks.into_iter().map(|look| (name.to_owned(), look)));
            }
        }
        if values.is_empty() {
            return Ok(Self::default());
        }
        // Much smaller than the automaton that is the default for few values, and as fast for a line.
        let finder = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(values.iter().map(|(_, value)| value))
            .map_err(|error| format!("secrets cannot be looked for in logs: {error}"))?;
        let longest = values.iter().map(|(_, value)| value.len()).max().unwrap_or_default();
        Ok(Self { finder: Some(finder), values, longest })
    }

    /// Bytes of the longest value; 0 without any.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Returns `text` with `[secret NAME]` in place of each value. Where values overlap, no byte of any of them is left.
    pub fn redact(&self, text: String) -> String {
        let secrets = self.secrets(text.as_bytes());
        if secrets.is_empty() {
            return text;
        }
        let (mut redacted, mut at) = (String::with_capacity(text.len()), 0);
        for Secret { place, name } in secrets {
            // Values are text, so that what is between them is, too.
            redacted += &format!("{}{}", &text[at..place.start], Self::mark(name));
            at = place.end;
        }
        redacted + &text[at..]
    }

    /// Returns the mark that replaces a value.
    pub fn mark(name: &str) -> String {
        format!("[secret {name}]")
    }

    /// Returns the values in `text`, in order. Values that overlap are one.
    pub fn secrets(&self, text: &[u8]) -> Vec<Secret<'_>> {
        let Some(finder) = &self.finder else { return Vec::new() };
        let mut found: Vec<(Range<usize>, usize)> = Vec::new();
        // They come ordered by their ends, so that each can overlap only with the last ones.
        for value in finder.find_overlapping_iter(text) {
            let (mut place, mut longest) = (value.range(), value.pattern().as_usize());
            while let Some((last, of)) = found.pop_if(|(last, _)| last.end > place.start) {
                place.start = place.start.min(last.start);
                if self.values[of].1.len() >= self.values[longest].1.len() {
                    longest = of;
                }
            }
            found.push((place, longest));
        }
        let named = |(place, of): (Range<usize>, usize)| Secret { place, name: &self.values[of].0 };
        found.into_iter().map(named).collect()
    }

    /// Returns where the end of `text` may be the beginning of a value that is not complete: the longest such beginning of at
    /// least [`limits::SECRET_REDACTED_BYTES_MIN`] bytes.
    pub fn begun(&self, text: &[u8]) -> Option<Secret<'_>> {
        let begun = |value: &str| {
            let most = text.len().min(value.len().saturating_sub(1));
            let ends_so = |bytes: &usize| text.ends_with(&value.as_bytes()[..*bytes]);
            (limits::SECRET_REDACTED_BYTES_MIN..=most).rev().find(ends_so)
        };
        let all = self.values.iter().filter_map(|(name, value)| Some((begun(value)?, name)));
        let (bytes, name) = all.max_by_key(|(bytes, _)| *bytes)?;
        Some(Secret { place: text.len() - bytes..text.len(), name })
    }
}

/// Returns how a value looks when a program has escaped it: in a JSON string, in a string as Rust and others write it, in a URL.
fn escaped(value: &str) -> [String; 3] {
    let unquoted = |text: String| text[1..text.len() - 1].to_owned();
    [
        unquoted(serde_json::Value::from(value).to_string()),
        unquoted(format!("{value:?}")),
        utf8_percent_encode(value, UNRESERVED).to_string(),
    ]
}

/// All characters except the unreserved ones (RFC 3986, 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(secrets: &[(&str, &str)]) -> Redactor {
        Redactor::new(secrets.iter().copied()).unwrap()
    }

    #[test]
    fn values_are_taken_out_of_text() {
        let redactor = redactor(&[
            ("TOKEN", "s3cret-token"),
            ("LONGER", "s3cret-token-2"),
            ("KEY", "-----BEGIN-----\nabcdef\n-----END-----\n"),
            ("SHORT", "a"),
            // No mark is searched for values again.
            ("WORD", "secret"),
        ]);
        let redacted = |text: &str| redactor.redact(text.to_owned());
        assert_eq!(redacted("t=s3cret-token!"), "t=[secret TOKEN]!");
        assert_eq!(redacted("s3cret-token-2 abcdef"), "[secret LONGER] [secret KEY]");
        assert_eq!(redacted("a secret"), "a [secret WORD]");
        assert_eq!(redacted("a plain line"), "a plain line");
    }

    #[test]
    fn a_value_is_found_however_a_program_escaped_it() {
        let redactor = redactor(&[("ODD", "say \"no\" \\ to/é\u{7}")]);
        for text in [
            serde_json::json!({ "token": "say \"no\" \\ to/é\u{7}" }).to_string(),
            format!("{:?}", Some("say \"no\" \\ to/é\u{7}")),
            "https://example.org/?key=say%20%22no%22%20%5C%20to%2F%C3%A9%07&x=1".to_owned(),
        ] {
            let redacted = redactor.redact(text.clone());
            assert!(redacted.contains("[secret ODD]") && !redacted.contains("no"), "{text}: {redacted}");
        }
    }

    #[test]
    fn values_that_overlap_are_one_and_leave_nothing() {
        let redactor = redactor(&[("A", "abcdef"), ("B", "defghi"), ("C", "efgh")]);
        // Of two that are as long, the first names both.
        assert_eq!(redactor.redact("-abcdefghi-abcdef.defghi".into()), "-[secret A]-[secret A].[secret B]");
        assert_eq!(redactor.redact("abcdefabcdef".into()), "[secret A][secret A]");
    }

    #[test]
    fn what_may_become_a_value_is_known() {
        let redactor = redactor(&[("A", "abcdefgh"), ("B", "fghijklmno")]);
        let begun = |text: &str| redactor.begun(text.as_bytes()).map(|secret| (secret.place, secret.name));
        assert_eq!(begun("xx abcde"), Some((3..8, "A")));
        assert_eq!(begun("xx abcdefghi"), Some((8..12, "B")));
        assert_eq!(begun("xx abc"), None, "every text ends in some letters");
    }

    /// Whether each byte of `text` belongs to one of `values`, as slowly as that can be found out.
    fn is_secret(text: &str, values: &[String]) -> Vec<bool> {
        let mut secret = vec![false; text.len()];
        for value in values.iter().filter(|value| value.len() >= limits::SECRET_REDACTED_BYTES_MIN) {
            for start in
                (0..text.len()).filter(|start| text.as_bytes()[*start..].starts_with(value.as_bytes()))
            {
                secret[start..start + value.len()].fill(true);
            }
        }
        secret
    }

    proptest! {
        #[test]
        fn what_is_secret_is_marked_and_nothing_else(
            values in prop::collection::vec("[ab]{1,7}", 0..5),
            text in "[abc]{0,60}",
        ) {
            let names: Vec<String> = (0..values.len()).map(|number| format!("S{number}")).collect();
            let secrets = names.iter().map(String::as_str).zip(values.iter().map(String::as_str));
            let redactor = Redactor::new(secrets).unwrap();
            let mut marked = vec![false; text.len()];
            for secret in redactor.secrets(text.as_bytes()) {
                marked[secret.place].fill(true);
            }
            prop_assert_eq!(marked, is_secret(&text, &values));
        }
    }
}
