//! Parses which HTTP statuses are wanted, of invocations and of the lines they wrote.

use crate::admin::error::ApiError;

/// Returns the first and the last status of `404`, `5xx` or `400-499`.
pub fn statuses(text: &str) -> Result<(u16, u16), ApiError> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|status| (100..1_000).contains(status));
    let range = match (text.strip_suffix("xx"), text.split_once('-')) {
        (Some(class), _) => number(&format!("{class}00")).map(|first| (first, first + 99)),
        (None, Some((first, last))) => number(first).zip(number(last)),
        (None, None) => number(text).map(|status| (status, status)),
    };
    range.ok_or_else(|| {
        let message = format!("{text:?} is not a status: pass 404, 5xx or 400-499");
        ApiError::bad_request("invalid-status", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_three_ways() {
        assert_eq!(statuses("404").ok(), Some((404, 404)));
        assert_eq!(statuses("5xx").ok(), Some((500, 599)));
        assert_eq!(statuses("400-499").ok(), Some((400, 499)));
        for wrong in ["", "xx", "99", "1000", "40x", "4-5", "-", "abc", "0xx", "70000"] {
            assert!(statuses(wrong).is_err(), "{wrong}");
        }
    }
}
