//! The one door: an invocation becomes a slot in the pool of the active revision, and its outcome an
//! answer. Every trigger comes through here.

use http::{Request, Response};

use crate::app::running::App;
pub use crate::app::running::Group;
use crate::capability::guest::GuestBody;
use crate::ingress::answer::Refusal;
use crate::instance::response::ResponseBody;
use crate::instance::run::run;
use crate::invocation::{InvocationId, Outcome};
use crate::pool::NotTaken;

/// Runs `request` in the `group` of the active revision of `app` and gives back the guest's answer or the host's own.
/// Dropping the future cancels the invocation.
pub async fn dispatch(
    app: &App,
    group: Group<'_>,
    request: Request<GuestBody>,
    invocation: InvocationId,
) -> Result<Response<ResponseBody>, Refusal> {
    let slot = loop {
        let Some(pool) = app.active_pool_of(group) else {
            return Err(Refusal::new(
                http::StatusCode::NOT_FOUND,
                "no-route",
                "the app has no such function",
            ));
        };
        match pool.take().await {
            Ok(slot) => break slot,
            // A new revision took over between the two lines above; it is active by now.
            Err(NotTaken::Draining) => {}
            Err(NotTaken::Throttled(throttle)) => {
                let outcome = Outcome::Throttled(throttle);
                app.meter().counts.ended(&outcome);
                return Err(Refusal::from(&outcome));
            }
        }
        if app.is_removed() {
            return Err(Refusal::new(http::StatusCode::NOT_FOUND, "no-route", "the app was removed"));
        }
    };
    run(slot, request, invocation).await.map_err(|outcome| Refusal::from(&outcome))
}
