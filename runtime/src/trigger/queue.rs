//! Delivers the messages of queues: one consumer for each queue with a function, from its first deploy to the removal
//! of its app.
//!
//! A consumer reads what is ready in order and remembers how far it has read; a message it has read is leased to it, in
//! memory, until its delivery ends: then it is removed, waits for the next one, or is a dead letter. A host that is killed
//! has forgotten its leases, and delivers again what was under way. While nothing is to be done it waits for the
//! queue's bell or for the time at which the next message is due.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http_body::Frame;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::app::running::App;
use crate::app::triggers::QueueTrigger;
use crate::capability::grants::Place;
use crate::capability::queues::table::{Failure, Message, Next};
use crate::capability::queues::{Queue, Queues};
use crate::clock;
use crate::dispatch::{Group, dispatch};
use crate::invocation::InvocationId;
use crate::limits;
use crate::persist::db::DbError;
use crate::trigger::cloudevent;
use crate::trigger::leased::Leased;

/// How soon a delivery that waits in memory notices that its app or the host ends.
const PAUSE_STEP: Duration = Duration::from_millis(500);

/// The consumers of all apps.
pub struct Consumers {
    queues: Arc<Queues>,
    /// The event loops, which deliveries go round.
    loops: Vec<Handle>,
    stop: watch::Receiver<bool>,
    running: Mutex<HashMap<Place, Running>>,
}

/// A consumer that was started.
struct Running {
    /// The life of the app that it is for.
    app: Weak<App>,
    task: JoinHandle<()>,
}

impl Consumers {
    /// None yet; they run on `loops` and end with `stop`.
    pub fn new(queues: Arc<Queues>, loops: Vec<Handle>, stop: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self { queues, loops, stop, running: Mutex::default() })
    }

    /// Lets the consumers of `app` go by the revision that serves now, and starts those that are not there.
    pub fn follow(&self, app: &Arc<App>) {
        if !app.is_removed() {
            self.start(app);
        }
        // Those that have a function no more, and those whose settings have changed.
        for place in self.running.lock().keys().filter(|place| place.app == *app.name()) {
            self.queues.bell(place).notify_one();
        }
    }

    /// Waits until those that have been told to stop have ended, with their deliveries.
    pub async fn ended(&self) {
        let running: Vec<Running> = self.running.lock().drain().map(|(_, running)| running).collect();
        for Running { task, .. } in running {
            // A panic was reported by its thread.
            let _ = task.await;
        }
    }

    fn start(&self, app: &Arc<App>) {
        for trigger in &app.active().revision.manifest.trigger.queue {
            let place = Place { app: app.name().clone(), store: trigger.queue().clone() };
            let mut running = self.running.lock();
            if running.get(&place).is_some_and(|running| running.app.as_ptr() == Arc::as_ptr(app)) {
                continue;
            }
            let consumer = Consumer {
                app: app.clone(),
                bell: self.queues.bell(&place),
                queue: self.queues.queue(place.clone()),
                stop: self.stop.clone(),
                loops: self.loops.clone(),
                next_loop: 0,
                read_to: 0,
                leased: Leased::default(),
            };
            let before = running.remove(&place);
            let Some(here) = self.loops.first() else { return };
            let task = here.spawn(async move {
                // What another life of the app was about to deliver ends first.
                if let Some(before) = before {
                    let _ = before.task.await;
                }
                consumer.run().await;
            });
            running.insert(place, Running { app: Arc::downgrade(app), task });
        }
    }
}

struct Consumer {
    app: Arc<App>,
    queue: Queue,
    bell: Arc<Notify>,
    stop: watch::Receiver<bool>,
    loops: Vec<Handle>,
    next_loop: usize,
    /// Position of the last message that was read.
    read_to: i64,
    leased: Leased,
}

impl Consumer {
    async fn run(mut self) {
        let mut stop = self.stop.clone();
        let mut deliveries = JoinSet::new();
        // Whether there may be more to read, and whether it is known when the next message is due.
        let (mut has_more, mut due) = (true, None);
        while !self.app.is_removed() && !*stop.borrow() {
            if has_more {
                match self.fetch(&mut deliveries).await {
                    Ok(more) => has_more = more,
                    Err(error) => {
                        self.report(&error).await;
                        continue;
                    }
                }
            }
            if due.is_none() {
                match self.queue.next_due().await {
                    Ok(found) => due = Some(found.unwrap_or(i64::MAX)),
                    Err(error) => {
                        self.report(&error).await;
                        continue;
                    }
                }
            }
            tokio::select! {
                () = self.bell.notified() => (has_more, due) = (true, None),
                Some(ended) = deliveries.join_next() => has_more |= self.end(ended, &mut deliveries),
                () = until(due.unwrap_or(i64::MAX)) => {
                    if let Err(error) = self.queue.promote().await {
                        self.report(&error).await;
                    }
                    (has_more, due) = (true, None);
                }
                _ = stop.changed() => {}
            }
        }
        // They end by themselves, or with the host.
        while deliveries.join_next().await.is_some() {}
    }

    /// Reads as many messages as may be in flight and begins to deliver them. Says whether there may be more to read.
    async fn fetch(&mut self, deliveries: &mut JoinSet<Ended>) -> Result<bool, DbError> {
        loop {
            let Some((trigger, most)) = self.trigger() else { return Ok(false) };
            let room = most.saturating_sub(self.leased.count());
            let is_full = self.leased.bytes() >= limits::QUEUE_LEASED_BYTES_MAX;
            if is_full || room < most.min(trigger.batch_size() as usize) {
                return Ok(true);
            }
            let wanted = room.min(limits::QUEUE_PAGE_MAX);
            let messages = self.queue.ready(self.read_to, wanted).await?;
            let has_more = messages.len() == wanted;
            self.read_to = messages.last().map_or(self.read_to, |last| last.position);
            let mut messages = self.leased.lease(messages, trigger.session);
            while !messages.is_empty() {
                let rest = messages.split_off(messages.len().min(trigger.messages_per_request()));
                self.deliver(trigger.clone(), std::mem::replace(&mut messages, rest), deliveries);
            }
            if !has_more {
                return Ok(false);
            }
        }
    }

    /// The trigger of the revision that serves, if it has it still, and how many messages may be in flight.
    fn trigger(&self) -> Option<(QueueTrigger, usize)> {
        let active = self.app.active();
        let trigger = active.revision.manifest.trigger.of_queue(&self.queue.place().store)?;
        Some((trigger.clone(), trigger.in_flight_max(&trigger.policy(active.revision.policy()))))
    }

    fn deliver(&mut self, trigger: QueueTrigger, messages: Vec<Message>, deliveries: &mut JoinSet<Ended>) {
        let (app, queue, stop) = (self.app.clone(), self.queue.clone(), self.stop.clone());
        let delivery = Delivery { app, queue, stop, trigger, messages };
        self.next_loop = (self.next_loop + 1) % self.loops.len();
        deliveries.spawn_on(delivery.run(), &self.loops[self.next_loop]);
    }

    /// Takes note of a delivery that has ended. Says whether there is more to read because of it.
    fn end(&mut self, ended: Result<Ended, JoinError>, deliveries: &mut JoinSet<Ended>) -> bool {
        // A task that panicked was reported by its thread; its messages stay leased until the host is started again.
        let Ok(Ended { messages, is_over }) = ended else { return false };
        let trigger = self.trigger().filter(|_| is_over);
        let Some((trigger, _)) = trigger else {
            // What nobody took is read again when there is somebody, and what would come after it, too.
            let first = self.leased.abandon(&messages);
            self.read_to = first.map_or(self.read_to, |first| self.read_to.min(first - 1));
            return true;
        };
        for message in self.leased.give_back(&messages) {
            self.deliver(trigger.clone(), vec![message], deliveries);
        }
        false
    }

    /// The database failed: that is for the host's log, and it is asked again.
    async fn report(&self, error: &DbError) {
        let Place { app, store } = self.queue.place();
        tracing::error!("queue {store} of app {app}: {error}");
        tokio::time::sleep(limits::QUEUE_DB_PAUSE).await;
    }
}

/// Waits for a moment in milliseconds since 1970.
async fn until(unix_ms: i64) {
    // A clock that is set is noticed within a minute.
    let step = Duration::from_secs(60);
    loop {
        let left_ms = unix_ms.saturating_sub(clock::now_ms() as i64);
        match u64::try_from(left_ms) {
            Err(_) | Ok(0) => return,
            Ok(left_ms) => tokio::time::sleep(Duration::from_millis(left_ms).min(step)).await,
        }
    }
}

/// Messages on their way: one, or a batch.
struct Delivery {
    app: Arc<App>,
    queue: Queue,
    stop: watch::Receiver<bool>,
    trigger: QueueTrigger,
    messages: Vec<Message>,
}

/// A delivery that has ended.
struct Ended {
    messages: Vec<Message>,
    /// Whether it is stored what becomes of them; otherwise nobody took them.
    is_over: bool,
}

/// How a request ended.
enum Answer {
    /// With a status of 2xx, and the names of messages of a batch that failed all the same.
    Done(Vec<String>),
    /// Without; the text says how.
    Failed(String),
    /// A bound of the host refused it before the function saw it.
    Throttled,
    /// The app or its function is gone.
    NobodyThere,
}

impl Delivery {
    async fn run(mut self) -> Ended {
        let now_ms = clock::now_ms() as i64;
        for message in &mut self.messages {
            message.first_ms.get_or_insert(now_ms);
        }
        let mut left = self.messages.clone();
        loop {
            self.end_expired(&mut left).await;
            if left.is_empty() {
                return Ended { messages: self.messages, is_over: true };
            }
            let invocation = InvocationId::next();
            let answer = self.ask(&left, invocation).await;
            let mut again = Vec::new();
            for message in std::mem::take(&mut left) {
                let error = match &answer {
                    Answer::Done(failed) if failed.contains(&message.id) => "the function named it",
                    Answer::Done(_) => {
                        self.until_stored(|| self.queue.acknowledge(message.number)).await;
                        continue;
                    }
                    Answer::Failed(error) => error,
                    Answer::Throttled => {
                        again.push((message, limits::QUEUE_THROTTLED_PAUSE));
                        continue;
                    }
                    Answer::NobodyThere => {
                        left.push(message);
                        continue;
                    }
                };
                again.extend(self.failed(message, invocation, error).await);
            }
            let wait = again.iter().map(|(_, wait)| *wait).max().unwrap_or_default();
            left.extend(again.into_iter().map(|(message, _)| message));
            if matches!(answer, Answer::NobodyThere) || !self.pause(wait).await {
                return Ended { messages: left, is_over: false };
            }
        }
    }

    /// Waits, but not for what is to end: says whether the delivery may go on.
    async fn pause(&self, wait: Duration) -> bool {
        let until = tokio::time::Instant::now() + wait;
        loop {
            if self.app.is_removed() || *self.stop.borrow() {
                return wait.is_zero();
            }
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return true;
            }
            tokio::time::sleep(left.min(PAUSE_STEP)).await;
        }
    }

    async fn ask(&self, messages: &[Message], invocation: InvocationId) -> Answer {
        let (place, path) = (self.queue.place(), self.trigger.path());
        let request = match messages {
            [message] if !self.trigger.batch => cloudevent::of_message(message, place, &path),
            messages => cloudevent::of_batch(messages, place, &path),
        };
        let answered = dispatch(&self.app, Group::Function(&self.trigger.name), request, invocation).await;
        let response = match answered {
            Ok(response) => response,
            Err(refusal) if refusal.code == "throttled" => return Answer::Throttled,
            Err(refusal) if refusal.code == "no-route" => return Answer::NobodyThere,
            Err(refusal) => return Answer::Failed(format!("{}: {}", refusal.code, refusal.message)),
        };
        let status = response.status();
        let (mut body, mut said) = (response.into_body(), Vec::new());
        // How it ends counts, and of a batch also what it says.
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(bytes)) if said.len() + bytes.len() <= limits::QUEUE_BATCH_ANSWER_BYTES_MAX => {
                    said.extend(bytes)
                }
                Ok(_) => {}
                Err(error) => return Answer::Failed(format!("the response broke off: {error}")),
            }
        }
        match status.is_success() {
            true if self.trigger.batch => Answer::Done(cloudevent::failed_of_batch(&said)),
            true => Answer::Done(Vec::new()),
            false => Answer::Failed(format!("status {}", status.as_u16())),
        }
    }

    /// Makes dead letters of those whose time to live is over.
    async fn end_expired(&self, left: &mut Vec<Message>) {
        let now_ms = clock::now_ms() as i64;
        let is_over = |message: &Message| message.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms);
        let expired: Vec<Message> = left.extract_if(.., |message| is_over(message)).collect();
        for message in expired {
            self.store(&message, "its time to live was over", Next::Dead).await;
        }
    }

    /// A delivery of `message` failed. Gives it back with how long it waits if it is to be delivered again here: one of a
    /// session keeps its place, and those after it wait with it.
    async fn failed(
        &self,
        mut message: Message,
        invocation: InvocationId,
        error: &str,
    ) -> Option<(Message, Duration)> {
        message.failures += 1;
        let wait = self.trigger.wait_after(message.failures, random());
        self.say(&message, invocation, error, wait);
        match wait {
            None => self.store(&message, error, Next::Dead).await,
            Some(wait) if self.trigger.session && message.session.is_some() => {
                self.store(&message, error, Next::Ready).await;
                return Some((message, wait));
            }
            Some(wait) => {
                let due_ms = clock::now_ms() as i64 + wait.as_millis() as i64;
                self.store(&message, error, Next::Waits(due_ms)).await;
            }
        }
        None
    }

    async fn store(&self, message: &Message, error: &str, next: Next) {
        let error = error[..error.floor_char_boundary(limits::QUEUE_ERROR_BYTES_MAX)].to_owned();
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
        self.app.active_pool().template().host_says(Some(invocation), &text);
    }

    /// A message whose end cannot be stored stays leased until it can.
    async fn until_stored<F: Future<Output = Result<bool, DbError>>>(&self, store: impl Fn() -> F) {
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

/// Evenly spread over 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness the middle serves.
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
