//! Events: what a trigger of the host sends to a function.

use percent_encoding::percent_decode;

use crate::Request;

/// The attributes of an event: a message of a queue, a written blob, or the run of a timer.
///
/// The request's body is the event's data: a message as it was sent, or as JSON a
/// [`blob::Written`](crate::blob::Written) or a [`timer::Due`](crate::timer::Due). An event may come again, with the same `id`,
/// when the function has failed, or when the host was killed before it had noted the answer.
///
/// ```
/// use wfn_sdk::{Error, Event, Request, StatusCode, kv::Store};
///
/// /// The second time makes no difference: it writes the same under the same key.
/// fn keep(mut request: Request) -> Result<StatusCode, Error> {
///     let Some(event) = Event::of(&request) else {
///         return Err(Error::new(StatusCode::FORBIDDEN, "messages come from the queue alone"));
///     };
///     let message = request.body_mut().read_bytes(256 * 1024)?;
///     Store::new("kept").put(&event.id, message).send()?;
///     Ok(StatusCode::NO_CONTENT)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The function that is called, as the manifest names it.
    pub function: String,
    /// What has happened: `wfn.queue.message`, `wfn.blob.written` or `wfn.timer.due`.
    pub kind: String,
    /// Its id: the one that a message was sent with, or one of the host's.
    pub id: String,
    /// Its source: `/apps/shop/queues/orders`.
    pub source: String,
    /// The name of the blob that was written.
    pub subject: Option<String>,
    /// When it happened, in the form of RFC 3339.
    pub time: String,
    /// How often it has been delivered, this time included.
    pub delivery_count: u32,
    /// The session of a queue's message.
    pub session: Option<String>,
    /// Whether a timer's run begins late.
    pub past_due: bool,
}

impl Event {
    /// Returns the event of `request`, if a trigger sends it: then it has `wfn-trigger`, which nobody but the host can send.
    /// `None` for a batch: its events are in its body.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        let header = |name: &str| {
            let value = request.headers().get(name)?;
            Some(percent_decode(value.as_bytes()).decode_utf8_lossy().into_owned())
        };
        Some(Self {
            function: header("wfn-trigger")?,
            kind: header("ce-type")?,
            id: header("ce-id")?,
            source: header("ce-source")?,
            subject: header("ce-subject"),
            time: header("ce-time")?,
            delivery_count: header("ce-deliverycount").and_then(|count| count.parse().ok()).unwrap_or(1),
            session: header("ce-partitionkey"),
            past_due: header("ce-pastdue").is_some_and(|is| is == "true"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Event;
    use crate::Request;

    /// What the host sends for each event.
    const ALWAYS: [(&str, &str); 6] = [
        ("wfn-trigger", "work"),
        ("ce-specversion", "1.0"),
        ("ce-type", "wfn.queue.message"),
        ("ce-source", "/apps/shop/queues/orders"),
        ("ce-id", "order%207"),
        ("ce-time", "2026-11-21T17:48:30.25Z"),
    ];

    fn event(headers: &[(&str, &str)]) -> Option<Event> {
        let all = headers.iter().fold(Request::post("/work"), |all, (name, value)| all.header(*name, *value));
        Event::of(&all.body(()).expect("a valid request"))
    }

    #[test]
    fn headers_are_an_event_and_are_decoded() {
        let least = Event {
            function: "work".into(),
            kind: "wfn.queue.message".into(),
            id: "order 7".into(),
            source: "/apps/shop/queues/orders".into(),
            subject: None,
            time: "2026-11-21T17:48:30.25Z".into(),
            delivery_count: 1,
            session: None,
            past_due: false,
        };
        assert_eq!(event(&ALWAYS), Some(least.clone()));
        let more = [
            ("ce-deliverycount", "3"),
            ("ce-partitionkey", "100%25%20%22M%C3%BCller%22"),
            ("ce-subject", "in/gr%C3%B6%C3%9Fe+1.png"),
            ("ce-pastdue", "true"),
        ];
        let most = Event {
            subject: Some("in/größe+1.png".into()),
            delivery_count: 3,
            session: Some("100% \"Müller\"".into()),
            past_due: true,
            ..least
        };
        assert_eq!(event(&[&ALWAYS[..], &more].concat()), Some(most));
    }

    #[test]
    fn what_no_trigger_sends_is_no_event() {
        assert_eq!(event(&ALWAYS[1..]), None);
        assert_eq!(
            event(&[("wfn-trigger", "work"), ("content-type", "application/cloudevents-batch+json")]),
            None
        );
    }
}
