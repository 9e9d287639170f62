//! `/v1/apps/{app}/triggers/…`: shows the triggers of an app, and runs timers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::admin::extract::Path;
use crate::clock;
use crate::manifest::function::FunctionName;
use crate::manifest::schedule::TimerState;
use crate::manifest::triggers::Triggers;
use crate::manifest::triggers::pull::PullTrigger;
use crate::manifest::triggers::timer::TimerTrigger;
use crate::names::AppName;
use crate::trigger::timer::Stored;

/// `GET /v1/apps/{app}/triggers`: the functions that triggers call, with what calls them; of timers also when.
pub async fn list(State(api): State<Arc<Api>>, Path(app): Path<String>) -> Result<Json<Value>, ApiError> {
    let app = api.registry.app(&AppName::new(&app)?)?;
    let stored = api.triggers.timers().stored(app.name()).await?;
    let Triggers { queue, blob, timer } = &app.active().revision.manifest.trigger;
    let state = |timer: &TimerTrigger| stored.iter().find(|(name, _)| name == timer.name.as_str());
    let triggers: Vec<Value> = queue
        .iter()
        .map(|trigger| of_pull("queue", trigger))
        .chain(blob.iter().map(|trigger| of_pull("blob", trigger)))
        .chain(
            timer
                .iter()
                .map(|trigger| of_timer(app.name(), trigger, state(trigger).map(|(_, stored)| stored))),
        )
        .collect();
    Ok(Json(json!({ "app": app.name(), "triggers": triggers })))
}

fn of_pull(kind: &str, trigger: &PullTrigger) -> Value {
    json!({
        "kind": kind,
        "function": trigger.name,
        "path": trigger.path(),
        "queue": trigger.queue(),
        "container": trigger.container,
        "prefix": trigger.prefix,
        "suffix": trigger.suffix,
    })
}

/// A timer that was just deployed may not be stored yet. Then its first state is shown.
fn of_timer(app: &AppName, trigger: &TimerTrigger, stored: Option<&Stored>) -> Value {
    let begins = || {
        let timer = trigger.timer(app).ok()?;
        Some(TimerState::begin(clock::now_ms() as i64, timer.schedule()))
    };
    let state = stored.map(|stored| stored.state).or_else(begins).unwrap_or_default();
    json!({
        "kind": "timer",
        "function": trigger.name,
        "path": trigger.path(),
        "schedule": trigger.schedule,
        "time_zone": trigger.time_zone(),
        "last_ms": state.last_run_ms,
        "next_ms": state.next_due_ms,
        "is_running": state.begun_ms.is_some(),
        "last_error": stored.and_then(|stored| stored.last_error.clone()),
    })
}

/// `POST /v1/apps/{app}/triggers/{function}/fire`: runs a timer function now, and answers when it has ended.
pub async fn fire(
    State(api): State<Arc<Api>>,
    Path((app, function)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let app = api.registry.app(&AppName::new(&app)?)?;
    let name = FunctionName::new(&function).map_err(|why| ApiError::bad_request("invalid-name", why))?;
    let active = app.active();
    let trigger = &active.revision.manifest.trigger;
    if let Some(pull) = trigger.pulls().find(|pull| pull.name == name) {
        let message = format!(
            "function {name} takes messages: send one with 'wfn queue send {} {}'",
            app.name(),
            pull.queue()
        );
        return Err(ApiError::bad_request("not-a-timer", message));
    }
    if trigger.timer(&name).is_none() {
        let known: Vec<&str> = trigger.timer.iter().map(|timer| timer.name.as_str()).collect();
        let message = match known.as_slice() {
            [] => format!("app {} has no timers: they are [[trigger.timer]] in its wfn.toml", app.name()),
            _ => format!("app {} has no timer {name}; its timers are {}", app.name(), known.join(", ")),
        };
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no-such-timer", message));
    }
    let fired = api.triggers.timers().fire(app.name(), &name).await;
    let fired = fired.ok_or_else(|| {
        let message = format!("a run of {name} goes on, and runs never overlap: try again when it has ended");
        ApiError::new(StatusCode::CONFLICT, "timer-runs", message)
    })?;
    Ok(Json(json!(fired)))
}
