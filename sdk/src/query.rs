//! Query strings: finding a parameter and undoing its encoding.

/// The first value of `name` in `path_with_query`, decoded; `None` when it is absent.
pub(crate) fn value(path_with_query: &str, name: &str) -> Option<String> {
    let (_, query) = path_with_query.split_once('?')?;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name).then(|| decode(value))
    })
}

/// Undoes `+` and `%41`; what is not valid stays as it is, bytes that are not UTF-8 become U+FFFD.
fn decode(encoded: &str) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The value of one hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    // A digit is below 16, so the cast loses nothing.
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn parameters_are_found_and_decoded() {
        for (path, name, expected) in [
            ("/", "a", None),
            ("/?", "a", None),
            ("/?a", "a", Some("")),
            ("/?b=1&a=2&a=3", "a", Some("2")),
            ("/?a=x+y%20z%2B", "a", Some("x y z+")),
            ("/?a=100%&b=%4", "a", Some("100%")),
            ("/?a=100%&b=%4", "b", Some("%4")),
            ("/?a=%ff", "a", Some("\u{fffd}")),
            ("/?a=%C3%A4", "a", Some("ä")),
        ] {
            assert_eq!(value(path, name).as_deref(), expected, "{name} in {path}");
        }
    }
}
