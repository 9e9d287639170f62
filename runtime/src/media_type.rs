//! Compares media types (RFC 9110, 8.3.1): names in any case, without parameters. Pure.

/// The type itself, without parameters and white space.
fn essence(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

/// Whether `text` says that something is JSON: the subtype is `json` or ends in `+json` (RFC 6839, 3.1; CloudEvents JSON
/// format, 3.1).
pub fn is_json(text: &str) -> bool {
    let subtype = essence(text).split_once('/').map_or("", |(_, subtype)| subtype).to_ascii_lowercase();
    subtype == "json" || subtype.ends_with("+json")
}

/// Whether one of the types that `accept` lists is `wanted`.
pub fn accepts(accept: &str, wanted: &str) -> bool {
    accept.split(',').any(|one| essence(one).eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_however_it_is_spelt() {
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            " application/json ;x=y",
            "application/problem+json",
            "application/vnd.api+JSON",
            "text/json",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "json", "application/jsonp", "application/json5", "text/plain; a=/json", "a/+jsonx"]
        {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn one_of_several_is_accepted() {
        assert!(accepts("text/html, Application/X-NDJSON;q=0.9", "application/x-ndjson"));
        assert!(!accepts("application/json, */*", "application/x-ndjson"));
    }
}
