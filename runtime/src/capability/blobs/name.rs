//! Names of blobs. They come from outside, and are taken unchanged or refused.

use crate::limits;

/// The name of a blob within its container: parts between slashes, each with at least one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobName(String);

impl BlobName {
    /// Checks a name: it has to be possible as the key of an S3 object and as the path of a file below a folder. The
    /// error says what is wrong.
    pub fn new(name: &str) -> Result<Self, &'static str> {
        // The message below repeats the limit.
        const { assert!(limits::BLOB_NAME_BYTES_MAX == 1_024) };
        if name.len() > limits::BLOB_NAME_BYTES_MAX {
            return Err("it has more than 1024 bytes");
        }
        if name.chars().any(char::is_control) {
            return Err("it has a control character");
        }
        for part in name.split('/') {
            match part {
                "" => return Err("it is empty, begins or ends with '/', or has two of them in a row"),
                "." | ".." => return Err("it has a part that is '.' or '..'"),
                _ => {}
            }
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for name in
            ["a", "a/b.c", "..a", "a..", "...", "ä ö", "%2e%2e", "a\\b", "#1", "-", &"x".repeat(1_024)]
        {
            assert_eq!(BlobName::new(name).map(|name| name.as_str().to_owned()), Ok(name.to_owned()));
        }
        for (name, why) in [
            ("", "empty"),
            ("/etc/passwd", "begins"),
            ("a/", "ends"),
            ("a//b", "two of them"),
            ("..", "'..'"),
            ("a/../b", "'..'"),
            ("./a", "'..'"),
            ("a\0", "control"),
            ("a\r\nb", "control"),
            ("a\u{7f}", "control"),
            ("a\u{85}", "control"),
            (&"ä".repeat(513), "1024 bytes"),
        ] {
            assert!(BlobName::new(name).is_err_and(|error| error.contains(why)), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_a_path_that_stays_as_it_is(name in "[a/.%# ä\\\\\0]{0,8}") {
            if let Ok(name) = BlobName::new(&name) {
                let path = Path::parse(name.as_str()).unwrap();
                prop_assert_eq!(path.as_ref(), name.as_str());
            }
        }
    }
}
