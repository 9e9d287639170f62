//! Writes spans as OTLP/HTTP requests in JSON, and reads the answers.
//!
//! The messages are those of its `.proto` files, in the JSON mapping of Protocol Buffers with the exceptions that the
//! protocol makes: ids are hexadecimal, enumerations are numbers. What has its default value is left out.

use serde::{Serialize, Serializer};

use crate::trace::context::write_digits;
use crate::trace::span::{AttributeValue, Kind, Span};

const SERVICE_NAME: &str = "wfn";
const SERVICE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The status code of work that failed. Work without a failure has none.
const STATUS_ERROR: u8 = 2;

/// The body of a request that hands over `spans` of the host on the machine `host_name`.
pub fn request_body(spans: &[Span], host_name: &str) -> Vec<u8> {
    let attributes = [
        ("service.name", SERVICE_NAME.into()),
        ("service.version", SERVICE_VERSION.into()),
        ("host.name", host_name.into()),
    ];
    let spans = spans.iter().map(SpanMessage::from).collect();
    let scope = Scope { name: SERVICE_NAME, version: SERVICE_VERSION };
    let resource_spans = ResourceSpans {
        resource: Resource { attributes: &attributes },
        scope_spans: [ScopeSpans { scope, spans }],
    };
    let request = ExportRequest { resource_spans: [resource_spans] };
    serde_json::to_vec(&request).expect("text and numbers have a form in JSON")
}

/// How many spans the collector did not take although it accepted the request, and why.
pub fn rejected(answer_body: &[u8]) -> Option<(u64, String)> {
    let answer: serde_json::Value = serde_json::from_slice(answer_body).ok()?;
    let partial = &answer["partialSuccess"];
    // A number of 64 bits may come as text.
    let count = &partial["rejectedSpans"];
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok()).filter(|count| *count > 0)?;
    Some((count, partial["errorMessage"].as_str().unwrap_or_default().to_owned()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExportRequest<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    #[serde(serialize_with = "attributes")]
    attributes: &'a [(&'static str, AttributeValue)],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<SpanMessage<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanMessage<'a> {
    trace_id: Hexadecimal<'a>,
    span_id: Hexadecimal<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<Hexadecimal<'a>>,
    name: &'a str,
    kind: u8,
    #[serde(serialize_with = "decimal")]
    start_time_unix_nano: u64,
    #[serde(serialize_with = "decimal")]
    end_time_unix_nano: u64,
    #[serde(serialize_with = "attributes")]
    attributes: &'a [(&'static str, AttributeValue)],
    #[serde(skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
}

impl<'a> From<&'a Span> for SpanMessage<'a> {
    fn from(span: &'a Span) -> Self {
        Self {
            trace_id: Hexadecimal(&span.context.trace_id),
            span_id: Hexadecimal(&span.context.span_id),
            parent_span_id: span.parent.as_ref().map(|id| Hexadecimal(id)),
            name: &span.name,
            kind: match span.kind {
                Kind::Internal => 1,
                Kind::Server => 2,
                Kind::Client => 3,
                Kind::Consumer => 5,
            },
            start_time_unix_nano: span.begin_unix_ns,
            end_time_unix_nano: span.end_unix_ns,
            attributes: &span.attributes,
            dropped_attributes_count: span.dropped_attributes,
            status: span.error.as_deref().map(|message| Status { message, code: STATUS_ERROR }),
        }
    }
}

#[derive(Serialize)]
struct Status<'a> {
    message: &'a str,
    code: u8,
}

#[derive(Serialize)]
struct KeyValue<'a> {
    key: &'static str,
    value: AnyValue<'a>,
}

/// Exactly one field of the message is there; its name says the type.
#[derive(Serialize)]
enum AnyValue<'a> {
    #[serde(rename = "stringValue")]
    Text(&'a str),
    #[serde(rename = "intValue", serialize_with = "decimal")]
    Integer(i64),
    #[serde(rename = "boolValue")]
    Boolean(bool),
}

/// At most the sixteen bytes of a trace id.
struct Hexadecimal<'a>(&'a [u8]);

impl Serialize for Hexadecimal<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = [0; 32];
        let digits = &mut digits[..2 * self.0.len()];
        write_digits(self.0, digits);
        serializer.serialize_str(str::from_utf8(digits).expect("digits are ASCII"))
    }
}

fn attributes<S: Serializer>(
    list: &[(&'static str, AttributeValue)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|(key, value)| {
        let value = match value {
            AttributeValue::Text(text) => AnyValue::Text(text),
            AttributeValue::Integer(number) => AnyValue::Integer(*number),
            AttributeValue::Boolean(answer) => AnyValue::Boolean(*answer),
        };
        KeyValue { key, value }
    }))
}

/// Numbers of 64 bits are text: those who read JSON may hold numbers as floating point.
fn decimal<S: Serializer>(number: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::trace::context::TraceContext;

    fn span(kind: Kind) -> Span {
        let header = "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01";
        let context = TraceContext::parse(header).unwrap();
        Span::new(context, None, "I'm a span", kind, 1_544_712_660_000_000_000)
    }

    fn written(spans: &[Span]) -> Value {
        serde_json::from_slice(&request_body(spans, "host-1")).unwrap()
    }

    /// After `examples/trace.json` of the protocol's repository.
    #[test]
    fn a_request_has_the_shape_of_the_protocol() {
        let mut server = span(Kind::Server);
        server.parent = Some(0xeee1_9b7e_c3c1_b173_u64.to_be_bytes());
        server.end(1_544_712_661_000_000_000);
        server.attribute("my.text", "some \"value\"");
        server.attribute("my.number", -7);
        server.attribute("my.answer", true);
        let version = env!("CARGO_PKG_VERSION");
        let expected = json!({"resourceSpans": [{
            "resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": "wfn"}},
                {"key": "service.version", "value": {"stringValue": version}},
                {"key": "host.name", "value": {"stringValue": "host-1"}},
            ]},
            "scopeSpans": [{
                "scope": {"name": "wfn", "version": version},
                "spans": [{
                    "traceId": "5b8efff798038103d269b633813fc60c",
                    "spanId": "eee19b7ec3c1b174",
                    "parentSpanId": "eee19b7ec3c1b173",
                    "name": "I'm a span",
                    "kind": 2,
                    "startTimeUnixNano": "1544712660000000000",
                    "endTimeUnixNano": "1544712661000000000",
                    "attributes": [
                        {"key": "my.text", "value": {"stringValue": "some \"value\""}},
                        {"key": "my.number", "value": {"intValue": "-7"}},
                        {"key": "my.answer", "value": {"boolValue": true}},
                    ],
                }],
            }],
        }]});
        assert_eq!(written(&[server]), expected);
    }

    #[test]
    fn kinds_are_numbers_and_errors_a_status() {
        let mut failed = span(Kind::Client);
        failed.fail("connection refused");
        for _ in 0..17 {
            failed.attribute("one", true);
        }
        let body = written(&[span(Kind::Internal), failed, span(Kind::Consumer)]);
        let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
        let kinds: Vec<_> = (0..3).map(|number| &spans[number]["kind"]).collect();
        assert_eq!(kinds, [1, 3, 5]);
        assert_eq!(spans[0].get("status"), None);
        assert_eq!(spans[0].get("parentSpanId"), None);
        assert_eq!(spans[0].get("droppedAttributesCount"), None);
        assert_eq!(spans[1]["status"], json!({"code": 2, "message": "connection refused"}));
        assert_eq!(spans[1]["droppedAttributesCount"], json!(1));
    }

    #[test]
    fn an_answer_says_what_was_not_taken() {
        let full = |text: &str| rejected(text.as_bytes());
        assert_eq!(full(""), None);
        assert_eq!(full("{}"), None);
        assert_eq!(full(r#"{"partialSuccess":{}}"#), None);
        assert_eq!(full(r#"{"partialSuccess":{"rejectedSpans":"0","errorMessage":"a hint"}}"#), None);
        assert_eq!(
            full(r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"old"}}"#),
            Some((3, "old".into()))
        );
        assert_eq!(full(r#"{"partialSuccess":{"rejectedSpans":3}}"#), Some((3, String::new())));
    }

    proptest! {
        #[test]
        fn whatever_a_span_says_can_be_read_again(name: String, text: String, number: i64, begin: u64) {
            let mut span = span(Kind::Server);
            span.name.clone_from(&name);
            span.begin_unix_ns = begin;
            span.attribute("text", text.as_str());
            span.attribute("number", number);
            let body = written(&[span]);
            let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
            prop_assert_eq!(&span["name"], &json!(name));
            prop_assert_eq!(&span["startTimeUnixNano"], &json!(begin.to_string()));
            prop_assert_eq!(&span["attributes"][0]["value"], &json!({"stringValue": text}));
            prop_assert_eq!(&span["attributes"][1]["value"], &json!({"intValue": number.to_string()}));
        }
    }
}
