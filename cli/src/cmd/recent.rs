//! What a group did in the last seconds, as the host tells it.

use serde_json::Value;

use crate::output;

/// The `recent` of a group.
#[derive(Debug, Clone, Copy)]
pub struct Recent<'a>(&'a Value);

impl<'a> Recent<'a> {
    /// That of `group`.
    pub fn of(group: &'a Value) -> Self {
        Self(&group["recent"])
    }

    /// What it counted under `key`, for each second.
    pub fn a_second(self, key: &str) -> f64 {
        let seconds = self.0["seconds"].as_f64().filter(|seconds| *seconds > 0.0).unwrap_or(1.0);
        self.0[key].as_f64().unwrap_or_default() / seconds
    }

    /// How long something took, in microseconds.
    pub fn took_us(self, key: &str) -> Option<f64> {
        self.0[key].as_f64()
    }
}

/// Microseconds for people, `-` where there are none.
pub fn took(took_us: Option<f64>) -> String {
    took_us.map_or("-".to_owned(), |us| output::microseconds(us as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_become_rates_and_a_host_without_any_breaks_nothing() {
        let group =
            json!({ "recent": { "seconds": 10, "invocations": 25, "p50_us": 120.0, "p99_us": null } });
        let recent = Recent::of(&group);
        assert_eq!((recent.a_second("invocations"), recent.a_second("failed")), (2.5, 0.0));
        assert_eq!(
            (took(recent.took_us("p50_us")), took(recent.took_us("p99_us"))),
            ("120 µs".into(), "-".into())
        );
        for none in [json!({}), json!({ "recent": { "seconds": 0, "invocations": 3 } })] {
            assert!(Recent::of(&none).a_second("invocations").is_finite());
        }
    }
}
