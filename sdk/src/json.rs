//! The one piece of JSON that small guests need: a quoted string.

use std::fmt::Write;

/// `text` as a JSON string, quotes included.
///
/// ```
/// assert_eq!(wfn_sdk::json::quote("a \"b\"\n"), r#""a \"b\"\n""#);
/// ```
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control < ' ' => {
                write!(quoted, "\\u{:04x}", u32::from(control)).expect("a String takes any text");
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn controls_are_escaped_and_the_rest_is_kept() {
        assert_eq!(quote("\u{1}\tä\\"), "\"\\u0001\\tä\\\\\"");
    }
}
