//! Calls a function for its trigger, and says how the call ended.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use http_body::Frame;
use http_body_util::BodyExt;

use crate::app::running::App;
use crate::dispatch::{NotRun, dispatch};
use crate::invocation::InvocationId;
use crate::limits;
use crate::manifest::function::FunctionName;
use crate::refusal::Refusal;
use crate::request::{Caller, Invocation};
use crate::trigger::cloudevent::EventRequest;

/// How a call ended.
pub enum TriggerAnswer {
    /// With a status of 2xx. Holds as much of the body as was asked for.
    Done(Vec<u8>),
    /// Failed; the text says how.
    Failed(String),
    /// A limit or quota of the host refused it before the function saw it.
    Throttled,
    /// The app or its function is gone.
    NobodyThere,
}

/// Calls `function` of `app`, reads its answer to the end, and keeps at most `keep` bytes of it. A panic of the host counts as a
/// failed call, because a repetition would panic again.
pub async fn call(
    app: &App,
    function: &FunctionName,
    event: EventRequest,
    invocation: InvocationId,
    keep: usize,
) -> TriggerAnswer {
    let EventRequest { request, cause } = event;
    let caller = Caller::Trigger { function: function.clone(), cause };
    let answer = AssertUnwindSafe(answer(app, Invocation::new(invocation, caller, request), keep))
        .catch_unwind()
        .await;
    answer.unwrap_or_else(|_| TriggerAnswer::Failed("the host failed: its own log says why".to_owned()))
}

/// Returns how long to wait before a refused call is repeated. `refusals` counts earlier refusals, from 0. `random` is evenly
/// spread over 0 to 1, so that calls that were refused together do not come back together.
pub fn pause_after_refusal(refusals: u32, random: f64) -> Duration {
    let whole =
        limits::THROTTLED_PAUSE.saturating_mul(1 << refusals.min(16)).min(limits::THROTTLED_PAUSE_MAX);
    whole.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

/// Returns the part of a failure's reason that is kept: secrets are removed, then it is cut.
pub fn kept_reason(app: &App, reason: &str) -> String {
    let reason = app.active_pool().template().capabilities().redacted(reason.to_owned());
    reason[..reason.floor_char_boundary(limits::QUEUE_ERROR_BYTES_MAX)].to_owned()
}

async fn answer(app: &App, invocation: Invocation, keep: usize) -> TriggerAnswer {
    let response = match dispatch(app, invocation).await {
        Ok(response) => response,
        Err(why) if why.is_throttled() => return TriggerAnswer::Throttled,
        Err(NotRun::NoFunction | NotRun::Removed) => return TriggerAnswer::NobodyThere,
        Err(why) => {
            let Refusal { code, message, .. } = why.into();
            return TriggerAnswer::Failed(format!("{code}: {message}"));
        }
    };
    let status = response.status();
    let (mut body, mut said) = (response.into_body(), Vec::new());
    // How it ends counts.
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) if said.len() + bytes.len() <= keep => said.extend(bytes),
            Ok(_) => {}
            Err(error) => return TriggerAnswer::Failed(format!("the response broke off: {error}")),
        }
    }
    match status.is_success() {
        true => TriggerAnswer::Done(said),
        false => TriggerAnswer::Failed(format!("status {}", status.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_again_and_again_comes_back_less_often() {
        let whole: Vec<u128> =
            (0..8).map(|refusals| pause_after_refusal(refusals, 1.0).as_millis()).collect();
        assert_eq!(whole, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(pause_after_refusal(u32::MAX, 0.0), Duration::from_millis(2_500));
        // One that is refused all the time makes some fifteen attempts in its first minute.
        for random in [0.0, 0.5, 1.0] {
            let minute = Duration::from_secs(60);
            let waited = |attempts| {
                (0..attempts).map(|refusals| pause_after_refusal(refusals, random)).sum::<Duration>()
            };
            let attempts = (1..).find(|attempts| minute < waited(*attempts)).unwrap_or_default();
            assert!((15..=30).contains(&attempts), "{attempts} for {random}");
        }
    }
}
