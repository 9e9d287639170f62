//! Snapshots: what is said is compared with a file in `tests/snapshots/`, without what differs from run to run.

use regex_lite::Regex;

use super::root;

/// Stands in each snapshot, and beside each difference.
const ACCEPT: &str =
    "to accept what is said now: INSTA_UPDATE=always cargo test --workspace --test promises snapshots::";

/// What differs from run to run, and what stands for it: where that is in a column, something of the same width.
const REDACTIONS: &[(&str, &str)] = &[
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "2026-11-21T00:00:00.000Z"),
    (r"(?m)^date: .*", "date: [time]"),
    (r"\b[0-9a-f]{64}\b", "[hash]"),
    (r"\b[0-9a-f]{16}\b", "0123456789abcdef"),
    (r"(Z +)[0-9a-f]{12}\b", "${1}0123456789ab"),
    (r"\b0x[0-9a-f]+\b", "[place]"),
    // What was measured; settings are whole seconds.
    (r"\b(\d+(\.\d)? (µs|ms)|\d+\.\d s)\b( cold)?", "[duration]"),
    // The last ten seconds in `wfn status`: calls a second, p50, p99.
    (
        r"(?m)\[duration\] +\d+\.\d +(\[duration\]|-) +(\[duration\]|-)$",
        "[duration]  [rate]  [duration]  [duration]",
    ),
    // Use and its price in `wfn usage`.
    (r"(?m)\d+\.\d +\d+\.\d +\d+\.\d{6} +\d+\.\d{4}$", "[number]  [number]  [number]  [number]"),
    // Members of JSON; the ends of an hour are anywhere.
    (r#""hours": \[[^\]]*\]"#, r#""hours": "[hour by hour]""#),
    (r#""((time|created|next|since|until|sent)_ms)": \d+"#, r#""$1": "[time]""#),
    (r#""(\w+_us)": [\d.]+"#, r#""$1": "[duration]""#),
    (r#""cold_start_us": \{[^}]*\}"#, r#""cold_start_us": "[durations]""#),
    (r#""recent": \{[^}]*\}"#, r#""recent": "[the last ten seconds]""#),
    (r#""(\w*gb_s|cost|cost_per_million)": [\d.]+"#, r#""$1": "[number]""#),
    (r#""(cores|guest_memory_limit_bytes)": \d+"#, r#""$1": "[of this machine]""#),
];

/// Compares `text` with what `tests/snapshots/NAME.snap` holds.
#[track_caller]
pub fn expect(name: &str, text: &str) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(root().join("tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(ACCEPT);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// `text` with words instead of what differs from run to run.
pub fn redacted(text: &str) -> String {
    let text = REDACTIONS.iter().fold(text.to_owned(), |text, (pattern, name)| {
        Regex::new(pattern).unwrap().replace_all(&text, *name).into_owned()
    });
    // Columns are as wide as what was measured.
    let columns = Regex::new(r"(\S)  +").unwrap();
    let parts =
        text.split("\n\n").map(|part| match part.contains("[duration]") || part.contains("[number]") {
            true => columns.replace_all(part, "$1  "),
            false => part.into(),
        });
    parts.collect::<Vec<_>>().join("\n\n")
}
