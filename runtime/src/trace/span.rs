//! One piece of work of a trace: when, what, and how it ended. Everything in it is bounded.

use crate::limits;
use crate::trace::context::TraceContext;

/// A piece of work.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub(super) context: TraceContext,
    pub(super) parent: Option<[u8; 8]>,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Nanoseconds since 1970, UTC; so is the end.
    pub(super) begin_unix_ns: u64,
    pub(super) end_unix_ns: u64,
    /// At most [`limits::SPAN_ATTRIBUTES_MAX`].
    pub(super) attributes: Vec<(&'static str, AttributeValue)>,
    /// How many there were beyond them.
    pub(super) dropped_attributes: u32,
    pub(super) error: Option<String>,
}

/// Which side of a call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work inside of the host.
    Internal,
    /// A request is answered.
    Server,
    /// Another server is asked.
    Client,
    /// Messages are processed that were sent before.
    Consumer,
}

/// What is known about a piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// At most [`limits::SPAN_TEXT_BYTES_MAX`] bytes.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
}

impl Span {
    /// Work that begins: `parent` is the id of what it is a part of, and `name` the same for all work of a sort
    /// (`GET /orders/{id}`, not `GET /orders/7`).
    pub fn new(
        context: TraceContext,
        parent: Option<[u8; 8]>,
        name: &str,
        kind: Kind,
        begin_unix_ns: u64,
    ) -> Self {
        Self {
            context,
            parent,
            name: cut(name),
            kind,
            begin_unix_ns,
            end_unix_ns: begin_unix_ns,
            attributes: Vec::new(),
            dropped_attributes: 0,
            error: None,
        }
    }

    /// Adds what is known; `key` is one of OpenTelemetry's semantic conventions or begins with `wfn.`.
    pub fn attribute(&mut self, key: &'static str, value: impl Into<AttributeValue>) {
        if self.attributes.len() == limits::SPAN_ATTRIBUTES_MAX {
            self.dropped_attributes += 1;
        } else {
            self.attributes.push((key, value.into()));
        }
    }

    /// It failed.
    pub fn fail(&mut self, message: &str) {
        self.error = Some(cut(message));
    }

    /// It has ended. A clock that was set back does not make it end before it began.
    pub fn end(&mut self, end_unix_ns: u64) {
        self.end_unix_ns = end_unix_ns.max(self.begin_unix_ns);
    }
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::Text(cut(text))
    }
}

impl From<i64> for AttributeValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for AttributeValue {
    fn from(answer: bool) -> Self {
        Self::Boolean(answer)
    }
}

/// The begin of a text, which takes no more memory than it may.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(limits::SPAN_TEXT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(name: &str) -> Span {
        let context = TraceContext { trace_id: [1; 16], span_id: [2; 8], sampled: true };
        Span::new(context, None, name, Kind::Server, 1_000)
    }

    #[test]
    fn attributes_beyond_the_bound_are_counted() {
        let mut span = span("work");
        for number in 0..20 {
            span.attribute("number", number);
        }
        assert_eq!((span.attributes.len(), span.dropped_attributes), (16, 4));
        assert_eq!(span.attributes[15], ("number", AttributeValue::Integer(15)));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_turn_time_around() {
        let mut span = span("work");
        assert_eq!(span.end_unix_ns, 1_000);
        span.end(900);
        assert_eq!(span.end_unix_ns, 1_000);
        span.end(1_100);
        assert_eq!(span.end_unix_ns, 1_100);
    }

    proptest! {
        #[test]
        fn all_text_is_cut_between_characters(text in "[aä€𝄞]{0,1500}") {
            let mut span = span(&text);
            span.attribute("text", text.as_str());
            span.fail(&text);
            let (_, AttributeValue::Text(attribute)) = &span.attributes[0] else { panic!("text") };
            let error = span.error.as_ref().unwrap();
            for kept in [&span.name, attribute, error] {
                prop_assert!(text.starts_with(kept.as_str()));
                prop_assert!(kept.capacity() <= 1_024);
                prop_assert!(kept.len() == text.len() || kept.len() > 1_020);
            }
        }
    }
}
