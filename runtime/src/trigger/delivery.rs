//! Delivers messages once: calls their function, and stores what became of each message.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::app::running::App;
use crate::capability::queues::Queue;
use crate::capability::queues::message::Message;
use crate::capability::queues::table::expiry::EXPIRED;
use crate::capability::queues::table::{Failure, Next};
use crate::invocation::{InvocationId, random_share};
use crate::manifest::grants::Place;
use crate::manifest::triggers::pull::PullTrigger;
use crate::persist::error::DbError;
use crate::trigger::call::{TriggerAnswer, call, kept_reason, pause_after_refusal};
use crate::trigger::cloudevent::{self, Event};
use crate::{clock, limits};

/// How often a delivery that waits for a slot checks whether its app or the host ends.
const PAUSE_STEP: Duration = Duration::from_millis(500);

/// Messages that are being delivered: one, or a batch.
pub struct Delivery {
    /// The app whose function takes them.
    pub app: Arc<App>,
    /// Their queue.
    pub queue: Queue,
    /// Changes when the host ends.
    pub stop: watch::Receiver<bool>,
    /// The function.
    pub trigger: PullTrigger,
    /// The messages.
    pub messages: Vec<Message>,
}

/// A delivery that has ended.
#[derive(Default)]
pub struct DeliveryEnd {
    /// Messages whose end is stored: delivered, dead, or put behind the others for later.
    pub over: Vec<Message>,
    /// Messages that wait in their place, each with the time until which it waits.
    pub waiting: Vec<(Message, i64)>,
    /// Messages that no function took.
    pub not_taken: Vec<Message>,
}

impl Delivery {
    /// Delivers them once. A refusal by a limit of the host is no delivery: it is tried again, less and less often.
    pub async fn run(mut self) -> DeliveryEnd {
        let now_ms = clock::now_ms() as i64;
        for message in &mut self.messages {
            message.first_ms.get_or_insert(now_ms);
        }
        let mut left = std::mem::take(&mut self.messages);
        let (mut ended, mut refusals) = (DeliveryEnd::default(), 0);
        loop {
            self.end_expired(&mut left, &mut ended).await;
            if left.is_empty() {
                return ended;
            }
            let invocation = InvocationId::next();
            match self.ask(&left, invocation).await {
                TriggerAnswer::Throttled
                    if self.pause(pause_after_refusal(refusals, random_share())).await =>
                {
                    refusals += 1;
                }
                TriggerAnswer::Throttled | TriggerAnswer::NobodyThere => {
                    ended.not_taken = left;
                    return ended;
                }
                TriggerAnswer::Done(said) => {
                    let failed =
                        if self.trigger.batch { cloudevent::failed_of_batch(&said) } else { Vec::new() };
                    let named = |message: &mut Message| failed.contains(&message.id);
                    let failed: Vec<Message> = left.extract_if(.., named).collect();
                    let done: Arc<[i64]> = left.iter().map(|message| message.number).collect();
                    if !done.is_empty() {
                        self.until_stored(|| self.queue.acknowledge(done.clone())).await;
                    }
                    ended.over.extend(left);
                    self.end_failed(failed, invocation, "the function named it", &mut ended).await;
                    return ended;
                }
                TriggerAnswer::Failed(error) => {
                    self.end_failed(left, invocation, &error, &mut ended).await;
                    return ended;
                }
            }
        }
    }

    /// Waits, but not if the app or host ends. Returns whether the delivery may continue.
    async fn pause(&self, wait: Duration) -> bool {
        let until = tokio::time::Instant::now() + wait;
        loop {
            if self.app.is_removed() || *self.stop.borrow() {
                return false;
            }
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return true;
            }
            tokio::time::sleep(left.min(PAUSE_STEP)).await;
        }
    }

    async fn ask(&self, messages: &[Message], invocation: InvocationId) -> TriggerAnswer {
        let (place, path) = (self.queue.place(), self.trigger.path());
        let event = |message: &Message| Event::of_message(message, place, self.trigger.container.as_ref());
        let (request, keep) = match messages {
            [message] if !self.trigger.batch => (event(message).request(&path), 0),
            messages => {
                let batch = cloudevent::batch(messages.iter().map(event), &path);
                (batch, limits::QUEUE_BATCH_ANSWER_BYTES_MAX)
            }
        };
        call(&self.app, &self.trigger.name, request, invocation, keep).await
    }

    /// Makes dead letters of those whose time to live is over.
    async fn end_expired(&self, left: &mut Vec<Message>, ended: &mut DeliveryEnd) {
        let now_ms = clock::now_ms() as i64;
        let is_over =
            |message: &mut Message| message.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms);
        for message in left.extract_if(.., is_over).collect::<Vec<_>>() {
            self.store(&message, EXPIRED, Next::Dead).await;
            ended.over.push(message);
        }
    }

    /// Ends a failed delivery: each message waits for the next one, or becomes a dead letter.
    async fn end_failed(
        &self,
        messages: Vec<Message>,
        invocation: InvocationId,
        error: &str,
        ended: &mut DeliveryEnd,
    ) {
        for mut message in messages {
            message.failures += 1;
            let wait = self.trigger.wait_after(message.failures, random_share());
            self.say(&message, invocation, error, wait);
            let due_ms = |wait: Duration| clock::now_ms() as i64 + wait.as_millis() as i64;
            match wait.map(due_ms) {
                None => self.store(&message, error, Next::Dead).await,
                Some(due_ms) if self.trigger.session && message.session.is_some() => {
                    self.store(&message, error, Next::WaitsInPlace(due_ms)).await;
                    ended.waiting.push((message, due_ms));
                    continue;
                }
                Some(due_ms) => self.store(&message, error, Next::Waits(due_ms)).await,
            }
            ended.over.push(message);
        }
    }

    async fn store(&self, message: &Message, error: &str, next: Next) {
        let error = kept_reason(&self.app, error);
        let first_ms = message.first_ms.unwrap_or_default();
        let failure = Failure { number: message.number, first_ms, error, next };
        self.until_stored(|| self.queue.fail(failure.clone())).await;
    }

    fn say(&self, message: &Message, invocation: InvocationId, error: &str, wait: Option<Duration>) {
        let (queue, id, count) = (&self.queue.place().store, &message.id, message.failures);
        let next = match wait {
            Some(wait) => format!("next in {} s", wait.as_secs_f64().round()),
            None => format!("it is a dead letter now: 'wfn queue dead {} {queue}'", self.app.name()),
        };
        let text = format!("delivery {count} of message {id:?} of queue {queue} failed: {error}; {next}");
        self.app.active_pool().template().host_log(Some(invocation), &text);
    }

    /// A message whose end cannot be stored stays leased until it can.
    async fn until_stored<T, F: Future<Output = Result<T, DbError>>>(&self, store: impl Fn() -> F) {
        while let Err(error) = store().await {
            if error == DbError::Closed {
                return;
            }
            let Place { app, store } = self.queue.place();
            tracing::error!("queue {store} of app {app}: {error}");
            tokio::time::sleep(limits::QUEUE_DB_PAUSE).await;
        }
    }
}
