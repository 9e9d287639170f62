//! What is printed: data on stdout, everything else on stderr, nothing that a function could have hidden in it.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::{Done, Failure};

/// Writes data to stdout. A reader that has gone away (`wfn ls | head -1`) ends the process quietly.
pub fn write(bytes: &[u8]) -> Done {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(format!("failed to write to stdout: {error}"))),
    }
}

/// Ends the process quietly if whoever read stdout has gone away: for one that waits for something to write.
pub fn end_without_reader() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = io::stdout();
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut watched, Some(&at_once)).is_ok() && watched[0].revents().contains(PollFlags::ERR) {
        std::process::exit(0);
    }
}

/// Prints a line of text, or a table, on stdout.
pub fn print(text: &str) -> Done {
    write((plain(text).into_owned() + "\n").as_bytes())
}

/// Prints one line of JSON on stdout.
pub fn print_json(value: &Value) -> Done {
    write(format!("{value}\n").as_bytes())
}

/// Prints a line on stderr.
pub fn say(text: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{}", plain(text));
}

/// The text without control characters, which a terminal would obey: names and log lines come from
/// functions that nobody vouches for.
pub fn plain(text: &str) -> Cow<'_, str> {
    let harmful = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let shown = |character: char| match harmful(character) {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Lays out rows in columns; numbers go to the right, text to the left.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width_of = |text: &str| text.chars().count();
    let cells = |column: usize| rows.iter().map(move |row| row[column].as_str());
    let mut lines = vec![String::new(); rows.len() + 1];
    for (column, name) in head.iter().enumerate() {
        let width = cells(column).map(width_of).max().unwrap_or(0).max(width_of(name));
        let numeric = !rows.is_empty() && cells(column).all(is_number);
        for (line, cell) in lines.iter_mut().zip([*name].into_iter().chain(cells(column))) {
            if column > 0 {
                line.push_str("  ");
            }
            line.push_str(&if numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// A number, with a unit or not, or the absence of one.
fn is_number(text: &str) -> bool {
    let first = text.split(' ').next().unwrap_or_default();
    text == "-" || first.replace(',', "").parse::<f64>().is_ok()
}

/// Milliseconds since 1970 as `2026-11-21T03:40:10.123Z`.
pub fn time(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1_000 % 60, in_day % 1_000);
    // The civil calendar from a count of days: years begin in March, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Bytes for people: `512 B`, `64.0 KiB`, `5.0 MiB`.
pub fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut scaled = count as f64;
    let mut unit = "B";
    for larger in units {
        if scaled < 1024.0 {
            break;
        }
        (scaled, unit) = (scaled / 1024.0, larger);
    }
    if unit == "B" { format!("{count} B") } else { format!("{scaled:.1} {unit}") }
}

/// What takes long, on stderr: one line that changes on a terminal, a line now and then elsewhere.
pub struct Progress {
    begun: Instant,
    shown: Option<Instant>,
    on_terminal: bool,
}

/// What is done sooner needs no progress.
const PATIENCE: Duration = Duration::from_secs(1);
/// A file that keeps stderr should not fill up with progress.
const PERIOD_ELSEWHERE: Duration = Duration::from_secs(10);
const PERIOD_ON_TERMINAL: Duration = Duration::from_millis(100);

impl Progress {
    /// Progress of something that begins now.
    pub fn new() -> Self {
        Self { begun: Instant::now(), shown: None, on_terminal: io::stderr().is_terminal() }
    }

    /// Shows `text` if there has been nothing to see for long enough.
    pub fn update(&mut self, text: impl FnOnce() -> String) {
        let (now, period) = match self.on_terminal {
            true => (Instant::now(), PERIOD_ON_TERMINAL),
            false => (Instant::now(), PERIOD_ELSEWHERE),
        };
        let due = match self.shown {
            Some(shown) => now - shown >= period,
            None => now - self.begun >= PATIENCE,
        };
        if !due {
            return;
        }
        self.shown = Some(now);
        if self.on_terminal {
            // Where stderr is closed there is nobody to tell.
            let _ = write!(io::stderr(), "\r\x1b[2K{}", plain(&text()));
        } else {
            say(&text());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.on_terminal && self.shown.is_some() {
            // Where stderr is closed there is nothing to clear.
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_795_232_410_123, "2026-11-21T03:40:10.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(time(ms), text);
        }
    }

    #[test]
    fn a_terminal_is_not_given_orders() {
        assert_eq!(plain("a\x1b[2Jb\r\u{9b}\tc"), "a\\u{1b}[2Jb\\r\\u{9b}\tc");
        assert!(matches!(plain("Grüße\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".into(), "7".into()], vec!["long-name".into(), "1,234".into()]];
        assert_eq!(table(&["APP", "CALLS"], &rows), "APP        CALLS\na              7\nlong-name  1,234");
        assert_eq!(bytes(5 * 1024 * 1024), "5.0 MiB");
        assert_eq!(bytes(1023), "1023 B");
    }
}
