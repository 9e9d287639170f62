//! The page of a run: tables and plots, in one file that loads nothing.

use std::fmt::Write;

use crate::cmd::bench::recommend::Advice;
use crate::cmd::bench::tables::{name, seen, told};
use crate::cmd::bench::{Run, tables};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 180.0;
/// Room for the numbers beside and below a plot.
const LEFT: f64 = 64.0;
const BELOW: f64 = 24.0;
const COLOURS: [&str; 6] = ["#4454d6", "#d6604d", "#2a9d8f", "#8e6bbf", "#b8860b", "#5b6770"];

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2024}\
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .75rem;text-align:right;border-bottom:1px solid #dfe3e8}th:first-child,td:first-child{text-align:left}\
svg{max-width:100%;height:auto}text{font:11px system-ui,sans-serif;fill:#5b6770}\
.key span{margin-right:1rem}.key i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.3em}\
@media(prefers-color-scheme:dark){body{background:#16181b;color:#e6e8ea}th,td{border-color:#33383e}text{fill:#9aa4ad}}";

/// A line of a plot: its points as (seconds, value).
type Line = Vec<(f64, f64)>;

/// The page.
pub fn page(goal: &str, runs: &[Run], advice: Option<&Advice>) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>wfn bench {goal}</title><style>{STYLE}</style></head><body><h1>wfn bench {goal}</h1>",
        goal = escaped(goal)
    );
    table(
        &mut page,
        &["Concurrency", "Requests", "RPS", "P50", "P90", "P99", "P99.9", "Max", "Errors"],
        runs.iter().map(seen).collect(),
    );
    let used: Vec<_> = runs.iter().filter_map(|run| Some(told(run, run.used.as_ref()?))).collect();
    if !used.is_empty() {
        let head = ["Concurrency", "Instances", "Cold", "Throttled", "CPU a call", "GB-s", "Cost a million"];
        table(&mut page, &head, used);
    }
    if let Some(advice) = advice {
        page += "<h2>Recommended</h2><ul>";
        for reason in advice.reasons() {
            put(&mut page, format_args!("<li>{}</li>", escaped(reason)));
        }
        page += "</ul>";
    }
    key(&mut page, runs);
    plot(&mut page, "Requests each second", runs, |run| {
        let pieces = run.report.whole_seconds();
        pieces.map(|piece| (piece.until.as_secs_f64(), rate(piece))).collect()
    });
    plot(&mut page, "P99 latency (ms)", runs, |run| {
        let pieces = run.report.whole_seconds();
        pieces.map(|piece| (piece.until.as_secs_f64(), piece.p99.as_secs_f64() * 1e3)).collect()
    });
    plot(&mut page, "P50 latency (ms)", runs, |run| {
        let pieces = run.report.whole_seconds();
        pieces.map(|piece| (piece.until.as_secs_f64(), piece.p50.as_secs_f64() * 1e3)).collect()
    });
    if runs.iter().any(|run| run.used.is_some()) {
        plot(&mut page, "Instances", runs, |run| {
            let points =
                run.used.as_ref().map(|used| used.instances_over_time.as_slice()).unwrap_or_default();
            let first = points.first().map_or(0, |(at, _)| *at);
            points.iter().map(|(at, count)| ((at - first) as f64 / 1e3, *count as f64)).collect()
        });
    }
    page + "</body></html>\n"
}

fn rate(piece: &wfn_load::Snapshot) -> f64 {
    piece.requests as f64 / (piece.until - piece.from).as_secs_f64().max(0.001)
}

fn table(page: &mut String, head: &[&str], rows: Vec<Vec<String>>) {
    let cells = |name: &str, cells: &mut dyn Iterator<Item = &str>| -> String {
        cells.map(|cell| format!("<{name}>{}</{name}>", escaped(cell))).collect()
    };
    put(page, format_args!("<table><tr>{}</tr>", cells("th", &mut head.iter().copied())));
    for row in rows {
        put(page, format_args!("<tr>{}</tr>", cells("td", &mut row.iter().map(String::as_str))));
    }
    *page += "</table>";
}

fn key(page: &mut String, runs: &[Run]) {
    if runs.len() < 2 {
        return;
    }
    *page += "<p class=\"key\">";
    for (run, colour) in runs.iter().zip(COLOURS.iter().cycle()) {
        let name = tables::name(run);
        put(page, format_args!("<span><i style=\"background:{colour}\"></i>concurrency {name}</span>"));
    }
    *page += "</p>";
}

fn plot(page: &mut String, title: &str, runs: &[Run], line: impl Fn(&Run) -> Line) {
    let lines: Vec<Line> = runs.iter().map(line).collect();
    let points = || lines.iter().flatten();
    let most = round_up(points().map(|(_, value)| *value).fold(0.0, f64::max));
    let last = points().map(|(at, _)| *at).fold(1.0, f64::max);
    let x = |at: f64| LEFT + at / last * (WIDTH - LEFT);
    let y = |value: f64| HEIGHT - value / most * (HEIGHT - 8.0);
    put(page, format_args!("<h2>{title}</h2><svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", HEIGHT + BELOW));
    put(page, format_args!("<title>{title}</title>"));
    for step in 0..=4 {
        let value = most * f64::from(step) / 4.0;
        let at = y(value);
        put(page, format_args!("<path d=\"M{LEFT} {at:.1}H{WIDTH}\" stroke=\"#8886\" fill=\"none\"/>"));
        put(
            page,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                number(value)
            ),
        );
    }
    put(page, format_args!("<text x=\"{LEFT}\" y=\"{}\">0 s</text>", HEIGHT + 18.0));
    put(
        page,
        format_args!("<text x=\"{WIDTH}\" y=\"{}\" text-anchor=\"end\">{last:.0} s</text>", HEIGHT + 18.0),
    );
    for ((line, colour), run) in lines.iter().zip(COLOURS.iter().cycle()).zip(runs) {
        let path: Vec<String> =
            line.iter().map(|(at, value)| format!("{:.1} {:.1}", x(*at), y(*value))).collect();
        if !path.is_empty() {
            let path = path.join("L");
            let name = escaped(&name(run));
            put(
                page,
                format_args!(
                    "<path d=\"M{path}\" stroke=\"{colour}\" stroke-width=\"2\" fill=\"none\"><title>{name}</title></path>"
                ),
            );
        }
    }
    *page += "</svg>";
}

/// The next number with one digit, or 1.
fn round_up(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let magnitude = 10f64.powf(most.log10().floor());
    (most / magnitude).ceil() * magnitude
}

fn number(value: f64) -> String {
    if value >= 10.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a string does not fail.
    let _ = page.write_fmt(text);
}
