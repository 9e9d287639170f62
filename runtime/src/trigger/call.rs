//! One call of a function by its trigger, through the one door: what came of it, in the trigger's words.

use http_body::Frame;
use http_body_util::BodyExt;

use crate::app::running::App;
use crate::app::triggers::FunctionName;
use crate::caller::Caller;
use crate::capability::guest::GuestRequest;
use crate::dispatch::dispatch;
use crate::invocation::InvocationId;

/// How a call ended.
pub enum Answer {
    /// With a status of 2xx, and so much of the body as was asked for.
    Done(Vec<u8>),
    /// Without; the text says how.
    Failed(String),
    /// A bound of the host refused it before the function saw it.
    Throttled,
    /// The app or its function is gone.
    NobodyThere,
}

/// Calls `function` of `app`, reads its answer to the end, and keeps at most `keep` bytes of it.
pub async fn call(
    app: &App,
    function: &FunctionName,
    request: GuestRequest,
    invocation: InvocationId,
    keep: usize,
) -> Answer {
    let response = match dispatch(app, Caller::Trigger(function), request, invocation).await {
        Ok(response) => response,
        Err(refusal) if refusal.code == "throttled" => return Answer::Throttled,
        Err(refusal) if refusal.code == "no-route" => return Answer::NobodyThere,
        Err(refusal) => return Answer::Failed(format!("{}: {}", refusal.code, refusal.message)),
    };
    let status = response.status();
    let (mut body, mut said) = (response.into_body(), Vec::new());
    // How it ends counts.
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) if said.len() + bytes.len() <= keep => said.extend(bytes),
            Ok(_) => {}
            Err(error) => return Answer::Failed(format!("the response broke off: {error}")),
        }
    }
    match status.is_success() {
        true => Answer::Done(said),
        false => Answer::Failed(format!("status {}", status.as_u16())),
    }
}
