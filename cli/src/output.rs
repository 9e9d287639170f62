//! What is printed: data on stdout, everything else on stderr, nothing that a function could have hidden in it.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

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

/// Text of ours, in which there may be names and messages of others: without what a terminal would obey or a reader would be
/// deceived by. Its line ends and tabs stay; what others have written goes through [`line()`] first.
pub fn plain(text: &str) -> Cow<'_, str> {
    shown(text, |character| is_harmful(character) && !matches!(character, '\n' | '\t'))
}

/// A name, a message or a line of a log, which somebody chose whom nobody vouches for: on one line, whatever is in it.
pub fn line(text: &str) -> Cow<'_, str> {
    shown(text, is_harmful)
}

/// The text with `harmful` characters escaped.
fn shown(text: &str, harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&harmful) {
        return Cow::Borrowed(text);
    }
    let shown = |character: char| match harmful(character) {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Control characters, which a terminal obeys; ends of lines and paragraphs; marks, embeddings, overrides and isolates of the
/// bidirectional algorithm (Unicode UAX 9), which show a text in another order; and what is not seen at all.
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Lays out rows in columns; numbers go to the right, text to the left. No cell can make a line of its own.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.iter().map(|cell| line(cell)).collect()).collect();
    let cells = |column: usize| rows.iter().map(move |row| row[column].as_ref());
    let mut lines = vec![String::new(); rows.len() + 1];
    for (column, name) in head.iter().enumerate() {
        let width = cells(column).map(UnicodeWidthStr::width).max().unwrap_or(0).max(name.width());
        let numeric = !rows.is_empty() && cells(column).all(is_number);
        for (line, cell) in lines.iter_mut().zip([*name].into_iter().chain(cells(column))) {
            if column > 0 {
                line.push_str("  ");
            }
            let space = " ".repeat(width - cell.width());
            line.push_str(&if numeric { space + cell } else { cell.to_owned() + &space });
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
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A duration for people: `85 µs`, `1.2 ms`, `34 ms`, `5.1 s`.
pub fn microseconds(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} µs"),
        1_000..10_000 => format!("{:.1} ms", count as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", count / 1_000),
        _ => format!("{:.1} s", count as f64 / 1e6),
    }
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
        assert_eq!(
            line("a\nb\tc\u{202e}d\u{2066}\u{200f}e\u{2028}"),
            "a\\nb\\tc\\u{202e}d\\u{2066}\\u{200f}e\\u{2028}"
        );
        assert!(matches!(line("می‌خواهم 👩‍💻 Grüße"), Cow::Borrowed(_)), "joiners are letters' business");
    }

    #[test]
    fn no_cell_makes_a_line() {
        let rows = [vec!["a\nforged  1".into(), "7".into()], vec!["\u{202e}b".into(), "8".into()]];
        let lines = table(&["APP", "CALLS"], &rows);
        assert_eq!(lines, "APP           CALLS\na\\nforged  1      7\n\\u{202e}b         8");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".into(), "7".into()], vec!["long-name".into(), "1,234".into()]];
        assert_eq!(table(&["APP", "CALLS"], &rows), "APP        CALLS\na              7\nlong-name  1,234");
        let wide = [vec!["ключ".into(), "7".into()], vec!["鍵e\u{301}".into(), "8".into()]];
        assert_eq!(table(&["KEY", "BYTES"], &wide), "KEY   BYTES\nключ      7\n鍵e\u{301}       8");
        assert_eq!(bytes(5 * 1024 * 1024), "5.0 MiB");
        assert_eq!(bytes(1023), "1023 B");
        let shown = [85, 1_249, 34_999, 5_100_000].map(microseconds);
        assert_eq!(shown, ["85 µs", "1.2 ms", "34 ms", "5.1 s"]);
    }
}
