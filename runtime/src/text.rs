//! Makes text from outside safe to show.

use crate::limits;

/// Text out of something hostile for people: at most [`limits::MESSAGE_CHARS_MAX`] characters, none of which moves a cursor
/// or turns the direction of a line.
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    for (count, character) in text.trim().chars().enumerate() {
        if count == limits::MESSAGE_CHARS_MAX {
            plain.push('…');
            break;
        }
        match character {
            '\n' | '"' | '\'' | '\\' => plain.push(character),
            other => plain.extend(other.escape_debug()),
        }
    }
    plain
}
