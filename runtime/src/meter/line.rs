//! Makes lines of what guests write: redacted first, then cut if they are too long. Pure.

use crate::limits;
use crate::meter::redactor::{Redactor, Secret};

/// Bytes that an empty line keeps for the next one. Most lines are shorter.
const KEPT_BYTES: usize = 1024;

/// The part of a line that has come so far: at most [`limits::LOG_LINE_BYTES_MAX`] plus the length of the longest secret value,
/// so that a value across a cut is found. Returned pieces may be as long as that, and longer where secrets are marked.
#[derive(Default)]
pub struct Line {
    bytes: Vec<u8>,
    /// How many of its first bytes belong to a secret that was marked in the piece before.
    hidden: usize,
    /// Whether there was a piece before.
    is_continued: bool,
}

impl Line {
    /// Whether it holds nothing that is not yet returned.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes some of `from`, which is not empty. Returns a line if there is one now, without secrets and without its line end:
    /// whole, or the first piece of one that is too long.
    pub fn take(&mut self, from: &mut &[u8], redactor: &Redactor) -> Option<String> {
        // One byte beyond the cut shows whether the cut is between two characters.
        let room = limits::LOG_LINE_BYTES_MAX + redactor.longest().max(1) - self.bytes.len();
        // One byte more: the line may end there.
        let next = &from[..from.len().min(room + 1)];
        if let Some(length) = next.iter().position(|byte| *byte == b'\n') {
            self.bytes.extend_from_slice(&next[..length]);
            *from = &from[length + 1..];
            let secrets = redactor.secrets(&self.bytes);
            return self.rest(&secrets);
        }
        let is_full = next.len() > room;
        let taken = next.len().min(room);
        self.bytes.extend_from_slice(&next[..taken]);
        *from = &from[taken..];
        is_full.then(|| self.piece(&redactor.secrets(&self.bytes)))
    }

    /// Ends the line here. A part of a secret at its end is redacted, too, because nothing would find it later.
    pub fn close(&mut self, redactor: &Redactor) -> Option<String> {
        if self.bytes.is_empty() {
            *self = Self::default();
            return None;
        }
        let mut secrets = redactor.secrets(&self.bytes);
        if let Some(mut begun) = redactor.begun(&self.bytes) {
            if let Some(last) = secrets.pop_if(|last| last.place.end > begun.place.start) {
                begun.place.start = last.place.start.min(begun.place.start);
            }
            secrets.push(begun);
        }
        self.rest(&secrets)
    }

    /// Returns the rest, which ends the line; `None` if it was returned before.
    fn rest(&mut self, secrets: &[Secret<'_>]) -> Option<String> {
        let text = self.text(self.bytes.len(), secrets).0;
        let is_told = self.is_continued && text.is_empty();
        (self.hidden, self.is_continued) = (0, false);
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
        (!is_told).then_some(text)
    }

    /// Returns the first piece of a line that is full. All secrets that begin in it are known.
    fn piece(&mut self, secrets: &[Secret<'_>]) -> String {
        let mut cut = limits::LOG_LINE_BYTES_MAX;
        // Between two characters, if it is text.
        let is_inside = |at: usize| self.bytes.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
        while is_inside(cut) && cut > limits::LOG_LINE_BYTES_MAX - 3 {
            cut -= 1;
        }
        let (text, at) = self.text(cut, secrets);
        self.bytes.drain(..cut);
        (self.hidden, self.is_continued) = (at - cut, true);
        text
    }

    /// Returns the text before `cut`, and the position up to which it covers the line: beyond `cut` if a secret lies across it.
    fn text(&self, cut: usize, secrets: &[Secret<'_>]) -> (String, usize) {
        let (mut text, mut at) = (Vec::new(), self.hidden.min(self.bytes.len()));
        for Secret { place, name } in secrets.iter().filter(|secret| secret.place.start < cut) {
            if place.start >= at {
                text.extend_from_slice(&self.bytes[at..place.start]);
                text.extend_from_slice(Redactor::mark(name).as_bytes());
            }
            at = at.max(place.end);
        }
        if at < cut {
            text.extend_from_slice(&self.bytes[at..cut]);
            at = cut;
        }
        (String::from_utf8_lossy(&text).into_owned(), at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = limits::LOG_LINE_BYTES_MAX;

    fn redactor(values: &[&str]) -> Redactor {
        Redactor::new(values.iter().map(|value| ("S", *value))).unwrap()
    }

    /// The lines that become of pieces, the last of which may not have ended.
    fn lines(pieces: &[&[u8]], redactor: &Redactor) -> Vec<String> {
        let (mut line, mut lines) = (Line::default(), Vec::new());
        for piece in pieces {
            let mut piece = *piece;
            while !piece.is_empty() {
                lines.extend(line.take(&mut piece, redactor));
            }
        }
        lines.extend(line.close(redactor));
        assert!(line.is_empty() && line.close(redactor).is_none());
        lines
    }

    #[test]
    fn output_becomes_lines_however_it_is_cut() {
        assert_eq!(lines(&[b"a", b"b\nc", b"\n\nlast"], &redactor(&[])), ["ab", "c", "", "last"]);
        assert_eq!(lines(&[b"\n"], &redactor(&[])), [""]);
        assert!(lines(&[b""], &redactor(&["secret"])).is_empty());
    }

    #[test]
    fn a_line_without_end_is_cut_between_characters() {
        let lengths =
            |text: &[u8]| -> Vec<usize> { lines(&[text], &redactor(&[])).iter().map(String::len).collect() };
        assert_eq!(lengths(&[b'x'; 3 * MAX]), [MAX, MAX, MAX]);
        assert_eq!(lengths(&[&[b'x'; MAX][..], b"\ny\n"].concat()), [MAX, 1], "a line that just fits is one");
        let text = format!("{}ä€x", "x".repeat(MAX - 1));
        assert_eq!(lines(&[text.as_bytes()], &redactor(&[])), ["x".repeat(MAX - 1), "ä€x".to_owned()]);
    }

    #[test]
    fn a_secret_that_lies_across_a_cut_is_in_no_piece() {
        let redactor = redactor(&["s3cret-token"]);
        for before in MAX - 13..=MAX + 1 {
            let text = format!("{}s3cret-token after", "x".repeat(before));
            let whole = lines(&[text.as_bytes()], &redactor).concat();
            assert_eq!(whole, format!("{}[secret S] after", "x".repeat(before)), "{before}");
        }
        let endless = "s3cret-token".repeat(3_000);
        let told = lines(&[endless.as_bytes()], &redactor).concat();
        assert_eq!(told, "[secret S]".repeat(3_000));
    }

    #[test]
    fn the_beginning_of_a_secret_at_the_end_is_one() {
        let redactor = redactor(&["s3cret-token"]);
        assert_eq!(lines(&[b"is s3cret-tok"], &redactor), ["is [secret S]"]);
        assert_eq!(lines(&[b"is s3c"], &redactor), ["is s3c"], "every text ends in some letters");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_is_lost_and_nothing_secret_told_wherever_it_is_cut(
            values in prop::collection::vec("[ab]{4,40}", 1..4),
            parts in prop::collection::vec("[abc\\n]{0,40}", 0..40),
            repeat in 1..60_usize,
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let redactor = redactor(&values);
            // Long lines, too: nothing ends where there is no line end.
            let text = parts.concat().repeat(repeat) + "\n";
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(parts.len() * 7 + 1).collect();
            let expected: Vec<String> =
                text.lines().map(|line| redactor.redact(line.to_owned())).collect();
            // Pieces of long lines are joined again.
            prop_assert_eq!(lines(&pieces, &redactor).concat(), expected.concat());
        }
    }
}
