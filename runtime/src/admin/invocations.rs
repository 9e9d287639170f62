//! `GET /v1/apps/{app}/invocations` and `…/series`: the latest invocations of an app, and its numbers for each second.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::admin::extract::{Path, Query};
use crate::admin::statuses::statuses;
use crate::app::sampler;
use crate::invocation::Outcome;
use crate::meter::invocation_log::Filter;
use crate::names::AppName;
use crate::{clock, limits};

/// The query: which invocations are wanted.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// How many at most, the latest.
    limit: Option<usize>,
    after: Option<u64>,
    since_ms: Option<u64>,
    failed: Option<bool>,
    outcome: Option<String>,
    status: Option<String>,
}

impl Wanted {
    fn filter(self) -> Result<Filter, ApiError> {
        let Self { after, since_ms, failed, outcome, status, .. } = self;
        if let Some(unknown) = outcome.as_deref().filter(|outcome| !Outcome::CODES.contains(outcome)) {
            let known = Outcome::CODES.join(", ");
            let message = format!("no invocation ends as {unknown:?}; known are {known}");
            return Err(ApiError::bad_request("invalid-outcome", message));
        }
        let status = status.as_deref().map(statuses).transpose()?;
        Ok(Filter { after, since_ms: since_ms.unwrap_or(0), failed, outcome, status })
    }
}

/// `GET /v1/apps/{app}/invocations`: the latest, the latest first.
pub async fn invocations(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    let app = api.registry.app(&AppName::new(&app)?)?;
    let limit = wanted.limit.unwrap_or(limits::RECORDS_MAX);
    let log = &app.meter().invocation_log;
    let found = log.latest(&wanted.filter()?, limit);
    // Under its old name, too, until the next release.
    let sample_rate = log.sample_rate();
    Ok(Json(
        json!({ "app": app.name(), "sample_rate": sample_rate, "one_of": sample_rate, "invocations": found }),
    ))
}

/// The query: which part of the series is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    #[serde(default)]
    since_ms: u64,
}

/// `GET /v1/apps/{app}/series`: the last minutes of each group, second by second. Seconds without a change are left out: their
/// counts are 0, and other numbers are those of the point before.
pub async fn series(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
    Query(since): Query<Since>,
) -> Result<Json<Value>, ApiError> {
    let app = api.registry.app(&AppName::new(&app)?)?;
    let mut points = Vec::new();
    for group in app.meter().groups() {
        for point in group.series.since(since.since_ms) {
            let mut shown = json!(point);
            shown["group"] = group.name().into();
            points.push(shown);
        }
    }
    Ok(Json(json!({
        "app": app.name(),
        "now_ms": clock::now_ms(),
        "period_ms": sampler::PERIOD_MS,
        "points": points,
    })))
}
