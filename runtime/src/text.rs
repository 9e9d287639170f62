//! Makes text of errors, and makes text from outside safe to show.

use crate::limits;

/// Returns the words of an error and of its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

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
