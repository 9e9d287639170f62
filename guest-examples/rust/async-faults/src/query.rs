//! Query strings as tests write them: `name=value` joined by `&`, nothing encoded.

/// The query of one request.
pub(crate) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Takes what stands after the question mark.
    pub(crate) fn new(query: &'a str) -> Self {
        Self(query)
    }

    /// The first value of `name` as it stands there.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The first value of `name`; none when it is absent or not a whole number.
    pub(crate) fn optional_number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// As [`Self::optional_number`], with a value for "none".
    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.optional_number(name).unwrap_or(default)
    }
}
