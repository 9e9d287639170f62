//! Writes text in the Prometheus exposition format (version 0.0.4).

use std::fmt::{Display, Write};

use crate::meter::histogram::Durations;

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric of a family is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// It only grows, while the host runs.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts durations.
    Histogram,
}

/// A text to which families are added.
#[derive(Default)]
pub struct Exposition {
    text: String,
    name: &'static str,
}

/// Names and values of a metric's labels.
pub type Labels<'a> = [(&'static str, &'a str)];

impl Exposition {
    /// Begins the family `name`. The metrics that are added next belong to it.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.name = name;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Adds a metric.
    pub fn metric(&mut self, labels: &Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Adds a histogram, in seconds.
    pub fn histogram(&mut self, labels: &Labels<'_>, durations: &Durations) {
        for (bound_seconds, count) in durations.cumulative() {
            self.line("_bucket", labels, Some(bound_seconds), count);
        }
        self.line("_bucket", labels, Some(f64::INFINITY), durations.count());
        self.line("_sum", labels, None, durations.total().as_secs_f64());
        self.line("_count", labels, None, durations.count());
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, suffix: &str, labels: &Labels<'_>, bound: Option<f64>, value: impl Display) {
        let name = self.name;
        self.write(format_args!("{name}{suffix}"));
        let mut separator = '{';
        for (name, value) in labels {
            self.write(format_args!("{separator}{name}=\"{}\"", escaped(value)));
            separator = ',';
        }
        if let Some(bound) = bound {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            self.write(format_args!("{separator}le=\"{bound}\""));
            separator = ',';
        }
        let end = if separator == ',' { "}" } else { "" };
        self.write(format_args!("{end} {value}\n"));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing into a string does not fail.
        let _ = self.text.write_fmt(text);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::histogram::{Histogram, Writer};
    use std::time::Duration;

    #[test]
    fn families_are_written_as_the_format_says() {
        let mut text = Exposition::default();
        text.family("wfn_apps", Kind::Gauge, "Apps.");
        text.metric(&[], 3);
        text.family("wfn_wait_seconds", Kind::Histogram, "Waits.");
        let (histogram, mut waits) = (Histogram::default(), Durations::default());
        histogram.note(Duration::from_micros(100), Writer::OneOfMany);
        histogram.note(Duration::from_secs(100), Writer::OneOfMany);
        histogram.add_to(&mut waits);
        text.histogram(&[("app", "a\"\\\n")], &waits);
        let text = text.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["# HELP wfn_apps Apps.", "# TYPE wfn_apps gauge", "wfn_apps 3"]);
        for expected in [
            r#"wfn_wait_seconds_bucket{app="a\"\\\n",le="0.000064"} 0"#,
            r#"wfn_wait_seconds_bucket{app="a\"\\\n",le="0.000128"} 1"#,
            r#"wfn_wait_seconds_bucket{app="a\"\\\n",le="+Inf"} 2"#,
            r#"wfn_wait_seconds_sum{app="a\"\\\n"} 100.0001"#,
            r#"wfn_wait_seconds_count{app="a\"\\\n"} 2"#,
        ] {
            assert!(lines.contains(&expected), "{expected} is not in {text}");
        }
    }
}
