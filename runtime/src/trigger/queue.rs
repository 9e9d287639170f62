//! Delivers the messages of queues: one consumer for each function with a queue, from its first deploy to the removal
//! of its app.
//!
//! A consumer reads what is ready in order and remembers how far it has read; a message it has read is leased to it, in
//! memory, until its delivery ends: then it is removed, waits for the next one, or is a dead letter. A host that is killed
//! has forgotten its leases, and delivers again what was under way. While nothing is to be done it waits for the
//! queue's bell or for the time at which the next message is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::app::running::App;
use crate::app::triggers::{FunctionName, QueueTrigger};
use crate::capability::grants::Place;
use crate::capability::queues::table::{Failure, Message};
use crate::capability::queues::{Queue, Queues};
use crate::clock;
use crate::dispatch::{Group, dispatch};
use crate::invocation::InvocationId;
use crate::limits;
use crate::persist::db::DbError;
use crate::trigger::cloudevent;

/// The consumers of all apps.
pub struct Consumers {
    queues: Arc<Queues>,
    /// The event loops, which deliveries go round.
    loops: Vec<Handle>,
    stop: watch::Receiver<bool>,
    running: Mutex<HashMap<(Place, FunctionName), JoinHandle<()>>>,
}

impl Consumers {
    /// None yet; they run on `loops` and end with `stop`.
    pub fn new(queues: Arc<Queues>, loops: Vec<Handle>, stop: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self { queues, loops, stop, running: Mutex::default() })
    }

    /// Lets the consumers of `app` go by the revision that serves now, and starts those that are not there.
    pub fn follow(&self, app: &Arc<App>) {
        for trigger in &app.active().revision.manifest.trigger.queue {
            let place = Place { app: app.name().clone(), store: trigger.queue().clone() };
            let mut running = self.running.lock();
            let known = (place.clone(), trigger.name.clone());
            if running.get(&known).is_some_and(|consumer| !consumer.is_finished()) {
                continue;
            }
            let consumer = Consumer {
                app: app.clone(),
                function: trigger.name.clone(),
                bell: self.queues.bell(&place),
                queue: self.queues.queue(place),
                loops: self.loops.clone(),
                next_loop: 0,
                read_to: 0,
            };
            let before = running.remove(&known);
            let stop = self.stop.clone();
            let Some(here) = self.loops.first() else { return };
            let task = here.spawn(async move {
                // What another life of the app was about to deliver ends first.
                if let Some(before) = before {
                    let _ = before.await;
                }
                consumer.run(stop).await;
            });
            running.insert(known, task);
        }
        // Those that have a function no more, and those whose settings have changed.
        for (place, _) in self.running.lock().keys().filter(|(place, _)| place.app == *app.name()) {
            self.queues.bell(place).notify_one();
        }
    }
}

struct Consumer {
    app: Arc<App>,
    function: FunctionName,
    queue: Queue,
    bell: Arc<Notify>,
    loops: Vec<Handle>,
    next_loop: usize,
    /// Position of the last message that was read.
    read_to: i64,
}

impl Consumer {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut deliveries = JoinSet::new();
        // Whether there may be more to read, and whether it is known when the next message is due.
        let (mut has_more, mut due) = (true, None);
        while !self.app.is_removed() && !*stop.borrow() {
            if has_more {
                match self.fetch(&mut deliveries).await {
                    Ok(more) => has_more = more,
                    Err(error) => self.report(&error).await,
                }
            }
            if due.is_none() {
                match self.queue.next_due().await {
                    Ok(found) => due = Some(found.unwrap_or(i64::MAX)),
                    Err(error) => self.report(&error).await,
                }
            }
            tokio::select! {
                () = self.bell.notified() => (has_more, due) = (true, None),
                Some(_) = deliveries.join_next() => {}
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
    async fn fetch(&mut self, deliveries: &mut JoinSet<()>) -> Result<bool, DbError> {
        loop {
            let active = self.app.active();
            let Some(trigger) = active.revision.manifest.trigger.of_queue(&self.function) else {
                return Ok(false);
            };
            if trigger.queue() != &self.queue.place().store {
                return Ok(false);
            }
            let most = trigger.in_flight_max(&trigger.policy(active.revision.policy()));
            let room = most.saturating_sub(deliveries.len());
            if room < most.min(trigger.batch_size() as usize) {
                return Ok(true);
            }
            let wanted = room.min(limits::QUEUE_PAGE_MAX);
            let messages = self.queue.ready(self.read_to, wanted).await?;
            let has_more = messages.len() == wanted;
            for message in messages {
                self.read_to = message.position;
                let delivery = Delivery {
                    app: self.app.clone(),
                    queue: self.queue.clone(),
                    trigger: trigger.clone(),
                    message,
                };
                self.next_loop = (self.next_loop + 1) % self.loops.len();
                deliveries.spawn_on(delivery.run(), &self.loops[self.next_loop]);
            }
            if !has_more {
                return Ok(false);
            }
        }
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

/// One message on its way.
struct Delivery {
    app: Arc<App>,
    queue: Queue,
    trigger: QueueTrigger,
    message: Message,
}

/// How a delivery ended.
enum Delivered {
    /// With a status of 2xx.
    Done,
    /// Without; the text says how.
    Failed(String),
    /// A bound of the host refused it before the function saw it.
    Throttled,
    /// The app or its function is gone.
    NobodyThere,
}

impl Delivery {
    async fn run(self) {
        let first_ms = self.message.first_ms.unwrap_or(clock::now_ms() as i64);
        let count = self.message.failures + 1;
        loop {
            if self.message.expires_ms.is_some_and(|expires_ms| expires_ms <= clock::now_ms() as i64) {
                return self.give_up(first_ms, None, "its time to live was over".to_owned()).await;
            }
            let invocation = InvocationId::next();
            match self.deliver(invocation, count, first_ms).await {
                Delivered::Done => return self.acknowledge().await,
                Delivered::Failed(error) => return self.failed(invocation, count, first_ms, error).await,
                Delivered::Throttled => tokio::time::sleep(limits::QUEUE_THROTTLED_PAUSE).await,
                Delivered::NobodyThere => return,
            }
        }
    }

    async fn deliver(&self, invocation: InvocationId, count: u32, first_ms: i64) -> Delivered {
        let path = self.trigger.path();
        let request = cloudevent::of_message(&self.message, self.queue.place(), &path, count, first_ms);
        match dispatch(&self.app, Group::Function(&self.trigger.name), request, invocation).await {
            Ok(response) => {
                let status = response.status();
                let mut body = response.into_body();
                // What it says is for nobody, how it ends is.
                while let Some(frame) = body.frame().await {
                    if let Err(error) = frame {
                        return Delivered::Failed(format!("the response broke off: {error}"));
                    }
                }
                match status.is_success() {
                    true => Delivered::Done,
                    false => Delivered::Failed(format!("status {}", status.as_u16())),
                }
            }
            Err(refusal) if refusal.code == "throttled" => Delivered::Throttled,
            Err(refusal) if refusal.code == "no-route" => Delivered::NobodyThere,
            Err(refusal) => Delivered::Failed(format!("{}: {}", refusal.code, refusal.message)),
        }
    }

    async fn acknowledge(&self) {
        self.until_stored(|| self.queue.acknowledge(self.message.number)).await;
    }

    async fn failed(&self, invocation: InvocationId, count: u32, first_ms: i64, error: String) {
        let wait = self.trigger.wait_after(count, random());
        self.say(invocation, count, &error, wait);
        self.give_up(first_ms, wait, error).await;
    }

    /// Lets the message wait, or makes it a dead letter.
    async fn give_up(&self, first_ms: i64, wait: Option<Duration>, mut error: String) {
        error.truncate(error.floor_char_boundary(limits::QUEUE_ERROR_BYTES_MAX));
        let due_ms = wait.map(|wait| clock::now_ms() as i64 + wait.as_millis() as i64);
        let failure = Failure { number: self.message.number, first_ms, error, due_ms };
        self.until_stored(|| self.queue.fail(failure.clone())).await;
    }

    fn say(&self, invocation: InvocationId, count: u32, error: &str, wait: Option<Duration>) {
        let (queue, id) = (&self.queue.place().store, &self.message.id);
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
