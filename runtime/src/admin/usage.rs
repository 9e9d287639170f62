//! `GET /v1/usage` and `/v1/apps/{app}/usage`: what apps have used, and what that costs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::admin::extract::{Path, Query};
use crate::clock;
use crate::meter::usage::hours::Hour;
use crate::meter::usage::price::{PriceTable, gb_seconds};
use crate::meter::usage::{Amounts, UsageRow, store};
use crate::names::AppName;

/// The query: which usage is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// From the hour of this moment on.
    #[serde(default)]
    since_ms: u64,
}

/// `GET /v1/usage`: of all apps, those that were removed too.
pub async fn all(State(api): State<Arc<Api>>, Query(since): Query<Since>) -> Result<Json<Value>, ApiError> {
    answer(&api, None, since.since_ms).await
}

/// `GET /v1/apps/{app}/usage`: of one app, also if it was removed, and of each hour.
pub async fn of_app(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
    Query(since): Query<Since>,
) -> Result<Json<Value>, ApiError> {
    answer(&api, Some(AppName::new(&app)?), since.since_ms).await
}

async fn answer(api: &Api, app: Option<AppName>, since_ms: u64) -> Result<Json<Value>, ApiError> {
    // First stores the usage until now. If that fails, as on a full disk, the stored usage is shown.
    if let Err(error) = api.registry.resources().store_usage(api.registry.db()).await {
        tracing::warn!("store what apps have used: {error}");
    }
    let from = Hour::of(since_ms);
    let wanted = app.clone();
    let (sums, hours) = api
        .registry
        .db()
        .read(move |connection| {
            let hours = wanted.as_ref().map(|app| store::hours_of(connection, app, from)).transpose()?;
            Ok((store::sums(connection, wanted.as_ref(), from)?, hours))
        })
        .await?;
    let is_known = app.as_ref().is_none_or(|app| api.registry.app(app).is_ok()) || !sums.is_empty();
    if let Some(app) = app.as_ref().filter(|_| !is_known) {
        // Fails if there is no such app.
        api.registry.app(app)?;
    }
    let mut shown = json!({
        "since_ms": from.begins_ms(),
        "until_ms": clock::now_ms(),
        "currency": api.about.prices.currency,
        "apps": by_app(&sums, &api.about.prices),
        "total": amounts(&sum(&sums), &api.about.prices),
    });
    if let Some(hours) = hours {
        let of_hour = |row: &UsageRow| {
            let mut shown = amounts(&row.amounts, &api.about.prices);
            (shown["group"], shown["hour_ms"]) = (row.group.clone().into(), row.hour.begins_ms().into());
            shown
        };
        shown["hours"] = hours.iter().map(of_hour).collect();
    }
    Ok(Json(shown))
}

fn by_app(sums: &[UsageRow], prices: &PriceTable) -> Vec<Value> {
    let of_app = |rows: &[UsageRow]| {
        let of_group = |row: &UsageRow| {
            let mut shown = amounts(&row.amounts, prices);
            shown["group"] = row.group.clone().into();
            shown
        };
        let mut shown = amounts(&sum(rows), prices);
        shown["app"] = json!(rows[0].app);
        shown["groups"] = rows.iter().map(of_group).collect();
        shown
    };
    sums.chunk_by(|one, next| one.app == next.app).map(of_app).collect()
}

fn sum(rows: &[UsageRow]) -> Amounts {
    rows.iter().fold(Amounts::default(), |mut sum, row| {
        sum += row.amounts;
        sum
    })
}

fn amounts(amounts: &Amounts, prices: &PriceTable) -> Value {
    let cost = prices.cost(amounts);
    let on_demand = gb_seconds(amounts.on_demand_mb_ms);
    let execution = gb_seconds(amounts.always_ready_execution_mb_ms);
    json!({
        "executions": amounts.executions,
        "gb_s": on_demand + execution,
        "on_demand_gb_s": on_demand,
        "always_ready_baseline_gb_s": gb_seconds(amounts.always_ready_baseline_mb_ms),
        "always_ready_execution_gb_s": execution,
        "cost": cost.total,
        "cost_per_million": cost.per_million,
    })
}
