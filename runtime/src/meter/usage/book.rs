//! Holds usage that is not stored yet. Nothing is lost while storing fails, and nothing is counted twice.

use std::collections::BTreeMap;

use crate::limits;
use crate::meter::usage::hours::Hour;
use crate::meter::usage::{Amounts, UsageRow};
use crate::names::AppName;

/// What groups have used since usage was last stored.
///
/// At most [`limits::USAGE_ROWS_UNSTORED_MAX`] rows, and one for each further group. If storing has failed for that many hours,
/// new usage is added to the last row of its group. The sum stays right, the hour does not.
#[derive(Debug, Default)]
pub struct Book {
    unstored: BTreeMap<(AppName, String, Hour), Amounts>,
}

impl Book {
    /// Notes usage that was taken out of the meter of an instance. Empty usage makes no row.
    pub fn note(&mut self, app: &AppName, group: &str, hour: Hour, amounts: Amounts) {
        if amounts == Amounts::default() {
            return;
        }
        let mut key = (app.clone(), group.to_owned(), hour);
        if self.unstored.len() >= limits::USAGE_ROWS_UNSTORED_MAX
            && let Some(((latest_app, latest_group, latest), _)) = self.unstored.range(..=&key).next_back()
            && *latest_app == key.0
            && *latest_group == key.1
        {
            key.2 = *latest;
        }
        *self.unstored.entry(key).or_default() += amounts;
    }

    /// Takes out all rows, to be stored. If that fails the caller returns them ([`Self::put_back`]).
    #[must_use]
    pub fn take(&mut self) -> Vec<UsageRow> {
        let rows = std::mem::take(&mut self.unstored).into_iter();
        rows.map(|((app, group, hour), amounts)| UsageRow { app, group, hour, amounts }).collect()
    }

    /// Adds rows again that could not be stored.
    pub fn put_back(&mut self, rows: Vec<UsageRow>) {
        for row in rows {
            self.note(&row.app, &row.group, row.hour, row.amounts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn app(name: &str) -> AppName {
        AppName::new(name).unwrap()
    }

    fn executions(count: u64) -> Amounts {
        Amounts { executions: count, ..Amounts::default() }
    }

    fn row(name: &str, group: &str, hour: u32, count: u64) -> UsageRow {
        UsageRow { app: app(name), group: group.to_owned(), hour: Hour(hour), amounts: executions(count) }
    }

    #[test]
    fn an_app_a_group_and_an_hour_have_one_row() {
        let mut book = Book::default();
        for (name, group, hour) in
            [("a", "http", 1), ("b", "http", 1), ("a", "http", 2), ("a", "function:f", 1), ("a", "http", 1)]
        {
            book.note(&app(name), group, Hour(hour), executions(1));
        }
        book.note(&app("idle"), "http", Hour(1), Amounts::default());
        let rows = [
            row("a", "function:f", 1, 1),
            row("a", "http", 1, 2),
            row("a", "http", 2, 1),
            row("b", "http", 1, 1),
        ];
        assert_eq!(book.take(), rows);
        assert_eq!(book.take(), []);
    }

    #[test]
    fn a_full_book_forgets_hours_and_no_usage() {
        let mut book = Book::default();
        let hours = limits::USAGE_ROWS_UNSTORED_MAX as u32;
        for hour in 0..hours {
            book.note(&app("m"), "http", Hour(hour), executions(1));
        }
        for (name, group) in
            [("m", "http"), ("n", "http"), ("m", "a"), ("m", "z"), ("a", "http"), ("m", "http")]
        {
            book.note(&app(name), group, Hour(hours), executions(10));
            book.note(&app(name), group, Hour(hours + 1), executions(20));
        }
        let rows = book.take();
        assert_eq!(rows.len(), hours as usize + 4);
        assert!(rows.contains(&row("m", "http", hours - 1, 61)));
        for (name, group) in [("n", "http"), ("m", "a"), ("m", "z"), ("a", "http")] {
            assert!(rows.contains(&row(name, group, hours, 30)), "{name} {group}");
        }
        assert_eq!(rows.iter().map(|row| row.amounts.executions).sum::<u64>(), u64::from(hours) + 180);
    }

    proptest! {
        #[test]
        fn what_is_noted_is_stored_once_however_often_storing_fails(
            steps in prop::collection::vec((0u8..4, 0u32..3, 0u64..9, any::<bool>(), any::<bool>()), 0..60),
        ) {
            let (mut book, mut stored, mut noted) = (Book::default(), Book::default(), Book::default());
            for (name, hour, count, stores, fails) in steps {
                let name = app(&name.to_string());
                noted.note(&name, "http", Hour(hour), executions(count));
                if stores {
                    let rows = book.take();
                    // What is noted while a write is under way.
                    book.note(&name, "http", Hour(hour), executions(count));
                    if fails { book.put_back(rows) } else { stored.put_back(rows) }
                } else {
                    book.note(&name, "http", Hour(hour), executions(count));
                }
            }
            stored.put_back(book.take());
            prop_assert_eq!(stored.take(), noted.take());
        }
    }
}
