//! Delivers the messages of queues: one consumer for each queue with a function, from its first deploy to the removal
//! of its app.
//!
//! A consumer reads what is ready in order and remembers how far it has read; a message it has read is leased to it, in
//! memory, until its delivery ends: then it is removed, waits for the next one, or is a dead letter. A host that is killed
//! has forgotten its leases, and delivers again what was under way. While nothing is to be done it waits for the
//! queue's bell or for the time at which the next message is due.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};

use crate::app::running::{App, Group};
use crate::app::triggers::pull::PullTrigger;
use crate::capability::grants::Place;
use crate::capability::queues::table::{Failure, Message, Next};
use crate::capability::queues::{Queue, Queues};
use crate::clock;
use crate::invocation::{InvocationId, random_share};
use crate::limits;
use crate::persist::db::DbError;
use crate::pool::dynamic::Fetching;
use crate::trigger::call::{Answer, call};
use crate::trigger::cloudevent::{self, Event};
use crate::trigger::leased::{GivenBack, Leased};
use crate::trigger::tasks::AppTasks;

/// How soon a delivery that waits in memory notices that its app or the host ends.
const PAUSE_STEP: Duration = Duration::from_millis(500);

/// The consumers of all apps.
pub struct Consumers {
    queues: Arc<Queues>,
    /// The event loops, which deliveries go round.
    loops: Vec<Handle>,
    stop: watch::Receiver<bool>,
    fetching: watch::Receiver<Fetching>,
    tasks: AppTasks<Place>,
}

impl Consumers {
    /// None yet; they run on `loops`, end with `stop`, and where their concurrency is dynamic they heed `fetching`.
    pub fn new(
        queues: Arc<Queues>,
        loops: Vec<Handle>,
        stop: watch::Receiver<bool>,
        fetching: watch::Receiver<Fetching>,
    ) -> Self {
        let tasks = AppTasks::new(loops.first().cloned());
        Self { queues, loops, stop, fetching, tasks }
    }

    /// Lets the consumers of `app` go by the revision that serves now, and starts those that are not there.
    pub fn follow(&self, app: &Arc<App>) {
        let active = app.active();
        let pulls = active.revision.manifest.trigger.pulls().filter(|_| !app.is_removed());
        for trigger in pulls {
            let place = Place { app: app.name().clone(), store: trigger.queue().clone() };
            self.tasks.begin(place.clone(), app, || self.consumer(app, place).run());
        }
        // Those that have a function no more, and those whose settings have changed.
        self.tasks.for_each(|place| {
            if place.app == *app.name() {
                self.queues.bell(place).notify_one();
            }
        });
    }

    /// Waits until those that have been told to stop have ended, with their deliveries.
    pub async fn ended(&self) {
        self.tasks.ended().await;
    }

    fn consumer(&self, app: &Arc<App>, place: Place) -> Consumer {
        Consumer {
            app: app.clone(),
            bell: self.queues.bell(&place),
            queue: self.queues.queue(place),
            stop: self.stop.clone(),
            fetching: self.fetching.clone(),
            loops: self.loops.clone(),
            next_loop: 0,
            read_to: 0,
            leased: Leased::default(),
        }
    }
}

struct Consumer {
    app: Arc<App>,
    queue: Queue,
    bell: Arc<Notify>,
    stop: watch::Receiver<bool>,
    fetching: watch::Receiver<Fetching>,
    loops: Vec<Handle>,
    next_loop: usize,
    /// Position of the last message that was read.
    read_to: i64,
    leased: Leased,
}

impl Consumer {
    async fn run(mut self) {
        let (mut stop, mut fetching) = (self.stop.clone(), self.fetching.clone());
        let mut deliveries = JoinSet::new();
        // What there is to read, and whether it is known when the next message is due.
        let (mut unread, mut due) = (Unread::More, None);
        while !self.app.is_removed() && !*stop.borrow() {
            if unread != Unread::Nothing {
                match self.fetch(&mut deliveries).await {
                    Ok(left) => unread = left,
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
                () = self.bell.notified() => (unread, due) = (Unread::More, None),
                Some(ended) = deliveries.join_next() => {
                    let has_more = self.end(ended, &mut deliveries).await;
                    if has_more || unread == Unread::NoRoom {
                        unread = Unread::More;
                    }
                }
                () = clock::until(due.unwrap_or(i64::MAX)) => {
                    if let Err(error) = self.queue.promote().await {
                        self.report(&error).await;
                    }
                    (unread, due) = (Unread::More, None);
                }
                _ = stop.changed() => {}
                // The host ends where nobody is left to say it.
                Ok(()) = fetching.changed() => unread = Unread::More,
                () = tokio::task::yield_now(), if unread == Unread::More => {}
            }
        }
        // They end by themselves, or with the host.
        while deliveries.join_next().await.is_some() {}
    }

    /// Reads a page of messages, if there is room for them, and begins to deliver them. Says what there is to read then.
    async fn fetch(&mut self, deliveries: &mut JoinSet<Ended>) -> Result<Unread, DbError> {
        let Some((trigger, most)) = self.trigger() else { return Ok(Unread::Nothing) };
        let room = most.saturating_sub(self.leased.count());
        let is_full = self.leased.bytes() >= limits::QUEUE_LEASED_BYTES_MAX;
        if is_full || room == 0 || room < trigger.fetched_at_least(most) {
            return Ok(Unread::NoRoom);
        }
        let wanted = room.min(limits::QUEUE_PAGE_MAX);
        let messages = self.queue.ready(self.read_to, wanted).await?;
        let unread = if messages.len() == wanted { Unread::More } else { Unread::Nothing };
        self.read_to = messages.last().map_or(self.read_to, |last| last.position);
        let mut messages = self.leased.lease(messages, trigger.session);
        while !messages.is_empty() {
            let rest = messages.split_off(messages.len().min(trigger.messages_per_request()));
            self.deliver(trigger.clone(), std::mem::replace(&mut messages, rest), deliveries);
        }
        Ok(unread)
    }

    /// The trigger of the revision that serves, if it has it still, and how many messages may be in flight.
    fn trigger(&self) -> Option<(PullTrigger, usize)> {
        let active = self.app.active();
        let trigger = active.revision.manifest.trigger.of_queue(&self.queue.place().store)?;
        let pool = active.pool_of(Group::Function(&trigger.name))?;
        let most = trigger.in_flight_max(pool.policy(), pool.concurrency());
        let is_paused = pool.is_dynamic() && *self.fetching.borrow() == Fetching::Paused;
        Some((trigger.clone(), if is_paused { 0 } else { most }))
    }

    fn deliver(&mut self, trigger: PullTrigger, messages: Vec<Message>, deliveries: &mut JoinSet<Ended>) {
        let (app, queue, stop) = (self.app.clone(), self.queue.clone(), self.stop.clone());
        let delivery = Delivery { app, queue, stop, trigger, messages };
        self.next_loop = (self.next_loop + 1) % self.loops.len();
        deliveries.spawn_on(delivery.run(), &self.loops[self.next_loop]);
    }

    /// Takes note of a delivery that has ended. Says whether there is more to read because of it.
    async fn end(&mut self, ended: Result<Ended, JoinError>, deliveries: &mut JoinSet<Ended>) -> bool {
        // A task that panicked was reported by its thread; its messages stay leased until the host is started again.
        let Ok(Ended { messages, is_over }) = ended else { return false };
        let trigger = self.trigger().filter(|_| is_over);
        let Some((trigger, _)) = trigger else {
            // What nobody took is read again when there is somebody, and what would come after it, too.
            let first = self.leased.abandon(&messages);
            self.read_to = first.map_or(self.read_to, |first| self.read_to.min(first - 1));
            return true;
        };
        let GivenBack { sessions, passed_over } = self.leased.give_back(&messages);
        for (session, after) in sessions {
            let next = self.next_of_session(&session, after).await;
            if let Some(next) = self.leased.go_on(&session, next) {
                self.deliver(trigger.clone(), vec![next], deliveries);
            }
        }
        self.read_to = passed_over.map_or(self.read_to, |first| self.read_to.min(first - 1));
        passed_over.is_some()
    }

    /// What a session goes on with. Asked for until it is known, or nobody is left for it: the session would wait for ever.
    async fn next_of_session(&self, session: &str, after: i64) -> Option<Message> {
        while !self.app.is_removed() && !*self.stop.borrow() {
            match self.queue.next_of_session(session.to_owned(), after).await {
                Ok(next) => return next,
                Err(error) => self.report(&error).await,
            }
        }
        None
    }

    /// The database failed: that is for the host's log, and it is asked again.
    async fn report(&self, error: &DbError) {
        let Place { app, store } = self.queue.place();
        tracing::error!("queue {store} of app {app}: {error}");
        tokio::time::sleep(limits::QUEUE_DB_PAUSE).await;
    }
}

/// What there is to read of a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// Nothing until the bell rings.
    Nothing,
    /// There may be more.
    More,
    /// There may be, but no room for it until a delivery ends.
    NoRoom,
}

/// Messages on their way: one, or a batch.
struct Delivery {
    app: Arc<App>,
    queue: Queue,
    stop: watch::Receiver<bool>,
    trigger: PullTrigger,
    messages: Vec<Message>,
}

/// A delivery that has ended.
struct Ended {
    messages: Vec<Message>,
    /// Whether it is stored what becomes of them; otherwise nobody took them.
    is_over: bool,
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
            let failed_of_batch = match &answer {
                Answer::Done(said) if self.trigger.batch => cloudevent::failed_of_batch(said),
                _ => Vec::new(),
            };
            let (mut done, mut again) = (Vec::new(), Vec::new());
            for message in std::mem::take(&mut left) {
                let error = match &answer {
                    Answer::Done(_) if failed_of_batch.contains(&message.id) => "the function named it",
                    Answer::Done(_) => {
                        done.push(message.number);
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
            if !done.is_empty() {
                let done: Arc<[i64]> = done.into();
                self.until_stored(|| self.queue.acknowledge(done.clone())).await;
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
        let wait = self.trigger.wait_after(message.failures, random_share());
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
