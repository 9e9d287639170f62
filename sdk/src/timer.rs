//! Timers of the host: functions that a schedule calls.

use serde::Deserialize;

/// One run of a timer: the data of an event for a function with `[[trigger.timer]]`. Times are UTC in the form of RFC 3339.
///
/// ```
/// use wfn_sdk::{Error, Json, Request, StatusCode, timer::Due};
///
/// fn nightly(mut request: Request) -> Result<StatusCode, Error> {
///     let Json(run) = Json::<Due>::read(&mut request, 4 * 1024)?;
///     println!("this run is for {}, the one before was for {:?}", run.due, run.last);
///     Ok(StatusCode::NO_CONTENT)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Due {
    /// The schedule in the manifest.
    pub schedule: String,
    /// Its time zone.
    pub time_zone: String,
    /// When the run was due. If an operator started it: when that was.
    pub due: String,
    /// Whether it begins late.
    pub past_due: bool,
    /// Whether an operator started it with `wfn trigger fire`.
    pub by_hand: bool,
    /// When the run before was due, if there was one.
    pub last: Option<String>,
    /// When the next run is due, if there is one.
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::Due;
    use crate::Json;

    #[test]
    fn the_first_run_and_the_last_one_are_read() {
        let first = r#"{"schedule":"0 0 2 * * *","time_zone":"Europe/Berlin","due":"2026-11-22T01:00:00Z",
            "past_due":false,"by_hand":false,"last":null,"next":"2026-11-23T01:00:00Z"}"#;
        let Json(first) = Json::<Due>::parse(first.as_bytes()).expect("an event's data");
        assert_eq!((first.schedule.as_str(), first.time_zone.as_str()), ("0 0 2 * * *", "Europe/Berlin"));
        assert_eq!((first.due.as_str(), first.last), ("2026-11-22T01:00:00Z", None));
        assert_eq!(first.next.as_deref(), Some("2026-11-23T01:00:00Z"));
        let last = r#"{"schedule":"0 0 2 1 1 *","time_zone":"UTC","due":"2026-11-22T01:00:00Z",
            "past_due":true,"by_hand":true,"last":"2026-11-21T01:00:00Z","next":null}"#;
        let Json(last) = Json::<Due>::parse(last.as_bytes()).expect("an event's data");
        assert!(last.past_due && last.by_hand && last.next.is_none() && last.last.is_some());
    }
}
