//! Holds the latest invocations of an app, each with its durations and sizes: all if they are few, samples if they are many.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;
use parking_lot::Mutex;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tokio::sync::Notify;

use crate::invocation::{InvocationId, is_failure};
use crate::limits;
use crate::meter::sampling::Sampling;
use crate::names::RevisionId;

/// One invocation that has ended.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// Counts up per app in the order in which they were kept.
    pub sequence: u64,
    /// Its id, as in answers and logs.
    pub invocation: InvocationId,
    /// When it ended: milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// Its scale group.
    pub group: String,
    /// The revision it ran in; none, if it was refused.
    pub revision: Option<RevisionId>,
    /// The number of its instance within the group; none, if it was refused.
    pub instance: Option<usize>,
    /// Whether its instance was made for it.
    pub cold: bool,
    /// Microseconds in the wait queue.
    pub waited_us: u32,
    /// Microseconds until it had a worker: 0 if one was there; none, if that is not known because it was cut off.
    pub started_us: Option<u32>,
    /// Microseconds from its slot to the end of its answer.
    pub ran_us: u64,
    /// Microseconds of processor time; none, where several invocations shared a worker.
    pub cpu_us: Option<u64>,
    /// Bytes of linear memory that its worker held when it had ended, which is the most it ever held.
    pub memory_bytes: Option<u64>,
    /// Bytes of the request's body, if that was known before.
    pub request_bytes: Option<u64>,
    /// Bytes of the answer's body.
    pub response_bytes: Option<u64>,
    /// The request's method.
    #[serde(serialize_with = "as_text")]
    pub method: Method,
    /// The path as the guest saw it, without the query, at most [`limits::RECORD_PATH_BYTES_MAX`].
    pub path: String,
    /// The status of the answer; none, if none was sent.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: &'static str,
    /// How many invocations it stands for. In JSON also under its old name, until the next release.
    #[serde(flatten, serialize_with = "with_old_name")]
    pub sample_rate: u32,
    /// Of one that failed: why, with the guest's backtrace.
    pub detail: Option<String>,
}

fn with_old_name<S: Serializer>(sample_rate: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("sample_rate", sample_rate)?;
    map.serialize_entry("one_of", sample_rate)?;
    map.end()
}

/// Which invocations are wanted. A field that is not set excludes nothing.
#[derive(Debug, Default, Clone)]
pub struct Filter {
    /// Only those kept after the one of this sequence number.
    pub after: Option<u64>,
    /// Only those that ended at or after this moment.
    pub since_ms: u64,
    /// Only those that failed, or only those that did not.
    pub failed: Option<bool>,
    /// Only those that ended in this way.
    pub outcome: Option<String>,
    /// Only those whose status lies between these two.
    pub status: Option<(u16, u16)>,
}

impl Filter {
    fn lets_through(&self, record: &Record) -> bool {
        let status_fits = |(from, to)| record.status.is_some_and(|status| (from..=to).contains(&status));
        self.after.is_none_or(|after| record.sequence > after)
            && record.time_ms >= self.since_ms
            && self.failed.is_none_or(|failed| is_failure(record.outcome) == failed)
            && self.outcome.as_ref().is_none_or(|outcome| record.outcome == outcome)
            && self.status.is_none_or(status_fits)
    }
}

/// The latest invocations of one app. Failed ones are kept apart, so that others do not displace them.
pub struct InvocationLog {
    ordinary: Shelf,
    failed: Shelf,
    next: Mutex<u64>,
    grown: Notify,
}

/// Some of the latest invocations, the oldest first.
struct Shelf {
    /// A copy of what [`Sampling::sample_rate`] says, to be read without the lock.
    sample_rate: AtomicU32,
    kept: Mutex<(Sampling, VecDeque<Record>)>,
    most: usize,
}

impl Default for InvocationLog {
    fn default() -> Self {
        let shelf = |per_second, most| Shelf {
            sample_rate: AtomicU32::new(1),
            kept: Mutex::new((Sampling::new(per_second), VecDeque::new())),
            most,
        };
        Self {
            ordinary: shelf(limits::RECORDS_PER_SECOND, limits::RECORDS_MAX),
            failed: shelf(limits::FAILED_RECORDS_PER_SECOND, limits::FAILED_RECORDS_MAX),
            next: Mutex::default(),
            grown: Notify::new(),
        }
    }
}

impl InvocationLog {
    /// Keeps the `number`-th invocation with the same kind of end, if it is one of the sample. Only then `make` is called.
    pub fn offer(&self, failed: bool, number: u64, make: impl FnOnce() -> Record) {
        let shelf = if failed { &self.failed } else { &self.ordinary };
        if !number.is_multiple_of(u64::from(shelf.sample_rate.load(Ordering::Relaxed))) {
            return;
        }
        let mut record = make();
        {
            let mut kept = shelf.kept.lock();
            let (sampling, records) = &mut *kept;
            record.sample_rate = sampling.keep(record.time_ms);
            shelf.sample_rate.store(sampling.sample_rate(), Ordering::Relaxed);
            let mut next = self.next.lock();
            record.sequence = *next;
            *next += 1;
            if records.len() == shelf.most {
                records.pop_front();
            }
            records.push_back(record);
        }
        self.grown.notify_waiters();
    }

    /// Tells the time. Must be called once a second.
    pub fn passed(&self, now_ms: u64) {
        for shelf in [&self.ordinary, &self.failed] {
            let mut kept = shelf.kept.lock();
            kept.0.passed(now_ms);
            shelf.sample_rate.store(kept.0.sample_rate(), Ordering::Relaxed);
        }
    }

    /// Returns how many invocations that did not fail are represented by one that is kept now.
    pub fn sample_rate(&self) -> u32 {
        self.ordinary.sample_rate.load(Ordering::Relaxed)
    }

    /// Returns the latest `count` that match `filter`, the latest first.
    pub fn latest(&self, filter: &Filter, count: usize) -> Vec<Record> {
        let of = |shelf: &Shelf| -> Vec<Record> {
            let kept = shelf.kept.lock();
            kept.1.iter().rev().filter(|record| filter.lets_through(record)).take(count).cloned().collect()
        };
        let mut found = of(&self.ordinary);
        found.extend(of(&self.failed));
        found.sort_unstable_by_key(|record| std::cmp::Reverse(record.sequence));
        found.truncate(count);
        found
    }

    /// The sequence number of the one kept last.
    pub fn newest(&self) -> Option<u64> {
        self.next.lock().checked_sub(1)
    }

    /// Waits until an invocation is kept after the one of `sequence`, or the first one.
    pub async fn reached(&self, sequence: Option<u64>) {
        loop {
            let grown = self.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            if *self.next.lock() > sequence.map_or(0, |sequence| sequence + 1) {
                return;
            }
            grown.await;
        }
    }
}

fn as_text<S: Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(method.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time_ms: u64, outcome: &'static str, status: Option<u16>) -> Record {
        Record {
            sequence: 0,
            invocation: InvocationId::next(),
            time_ms,
            group: "http".into(),
            revision: Some(RevisionId(1)),
            instance: Some(0),
            cold: false,
            waited_us: 0,
            started_us: Some(0),
            ran_us: 5,
            cpu_us: Some(5),
            memory_bytes: None,
            request_bytes: None,
            response_bytes: None,
            method: Method::GET,
            path: "/".into(),
            status,
            outcome,
            sample_rate: 1,
            detail: None,
        }
    }

    #[test]
    fn a_flood_does_not_push_out_what_failed() {
        let recent = InvocationLog::default();
        recent.offer(true, 0, || record(1_000, "trapped", Some(500)));
        for number in 0..800_000 {
            recent.offer(false, number, || record(1_000 + number / 8, "answered", Some(200)));
        }
        let all = recent.latest(&Filter::default(), usize::MAX);
        assert_eq!(all.len(), limits::RECORDS_MAX + 1);
        assert!(recent.sample_rate() > 1 && all[0].sample_rate > 1);
        assert!(all.windows(2).all(|pair| pair[0].sequence > pair[1].sequence));
        let failed = recent.latest(&Filter { failed: Some(true), ..Filter::default() }, 10);
        assert_eq!(failed.len(), 1);
    }

    #[test]
    fn filters_let_through_what_they_say() {
        let recent = InvocationLog::default();
        let ended = [
            ("answered", Some(200), 1_000),
            ("answered", Some(404), 2_000),
            ("trapped", Some(500), 3_000),
            ("cancelled", None, 4_000),
        ];
        for (number, (outcome, status, time_ms)) in ended.into_iter().enumerate() {
            recent.offer(outcome == "trapped", number as u64, || record(time_ms, outcome, status));
        }
        let times = |filter: Filter| -> Vec<u64> {
            recent.latest(&filter, 10).iter().map(|record| record.time_ms).collect()
        };
        assert_eq!(times(Filter { status: Some((400, 599)), ..Filter::default() }), [3_000, 2_000]);
        assert_eq!(times(Filter { outcome: Some("answered".into()), ..Filter::default() }), [2_000, 1_000]);
        assert_eq!(times(Filter { since_ms: 3_000, ..Filter::default() }), [4_000, 3_000]);
        assert_eq!(times(Filter { after: Some(2), ..Filter::default() }), [4_000]);
        assert_eq!(times(Filter { failed: Some(false), ..Filter::default() }).len(), 3);
    }
}
