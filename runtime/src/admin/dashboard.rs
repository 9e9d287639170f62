//! Serves the dashboard: a page and its files, which are part of the binary. It is a client of the admin API like any other.

use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, StatusCode};

use crate::admin::error::ApiError;
use crate::admin::extract::Path;

/// A file by its name.
macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("dashboard/", $name)))),*] };
}

const PAGE: &str = include_str!("dashboard/index.html");
const FILES: &[(&str, &str)] = files![
    "activity.js",
    "api.js",
    "app-page.js",
    "app.js",
    "charts.js",
    "dialogs.js",
    "dom.js",
    "format.js",
    "invocations.js",
    "logs.js",
    "overview.js",
    "poller.js",
    "revisions.js",
    "scaling.js",
    "series.js",
    "settings.js",
    "state.js",
    "style.css",
    "table.js",
    "triggers.js",
    "usage.js",
];

/// Only files of this host, no inline script, no text that becomes a script, not in the frame of another page: the dashboard
/// shows text that functions write.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'";

/// `GET /`: the page.
pub async fn page() -> Response {
    answer("text/html; charset=utf-8", PAGE)
}

/// `GET /dashboard/{file}`: what the page loads.
pub async fn file(Path(name): Path<String>) -> Result<Response, ApiError> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    let (name, text) = found.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "no-such-path", "the dashboard has no such file")
    })?;
    let kind = if name.ends_with(".css") { "text/css" } else { "text/javascript" };
    Ok(answer(kind, text))
}

fn answer(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // Another version of the host has different files under the same names.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
