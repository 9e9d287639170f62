//! Delivers the messages of queues: one consumer for each queue with a function, from its first deploy to the removal
//! of its app.
//!
//! A consumer reads what is ready in order and remembers how far it has read; a message it has read is leased to it, in
//! memory, until its delivery ([`crate::trigger::delivery`]) ends: then it is removed, waits for the next one, or is a dead
//! letter. What waits is not leased, so that it takes nobody's place; one of a session keeps its own, and its session waits with
//! it ([`Leases`]). A host that is killed has forgotten its leases, and delivers again what was under way. While nothing is to
//! be done it waits for the queue's notifier or for the time at which the next message is due.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::app::running::App;
use crate::capability::queues::message::Message;
use crate::capability::queues::{Queue, QueueNotifier, Queues};
use crate::manifest::grants::Place;
use crate::manifest::triggers::pull::PullTrigger;
use crate::persist::error::DbError;
use crate::pool::dynamic::Fetching;
use crate::request::Group;
use crate::trigger::delivery::{Delivery, DeliveryEnd};
use crate::trigger::leases::{Leases, Released};
use crate::trigger::tasks::AppTasks;
use crate::{clock, limits};

/// The consumers of all apps.
pub struct Consumers {
    queues: Arc<Queues>,
    /// The event loops, used in turn for deliveries.
    loops: Vec<Handle>,
    stop: watch::Receiver<bool>,
    fetching: watch::Receiver<Fetching>,
    tasks: AppTasks<Place>,
}

impl Consumers {
    /// Makes it without consumers. They run on `loops` and end with `stop`. With dynamic concurrency they obey `fetching`.
    pub fn new(
        queues: Arc<Queues>,
        loops: Vec<Handle>,
        stop: watch::Receiver<bool>,
        fetching: watch::Receiver<Fetching>,
    ) -> Self {
        let tasks = AppTasks::new(loops.first().cloned());
        Self { queues, loops, stop, fetching, tasks }
    }

    /// Makes the consumers of `app` follow the revision that serves now, and starts missing ones.
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
                self.queues.notifier(place).notify();
            }
        });
    }

    /// Waits until the consumers that were told to stop have ended, with their deliveries.
    pub async fn ended(&self) {
        self.tasks.ended().await;
    }

    fn consumer(&self, app: &Arc<App>, place: Place) -> Consumer {
        Consumer {
            app: app.clone(),
            purges: self.queues.notifier(&place).purges(),
            notifier: self.queues.notifier(&place),
            queue: self.queues.queue(place),
            stop: self.stop.clone(),
            fetching: self.fetching.clone(),
            loops: self.loops.clone(),
            next_loop: 0,
            read_to: 0,
            leases: Leases::default(),
        }
    }
}

struct Consumer {
    app: Arc<App>,
    queue: Queue,
    notifier: Arc<QueueNotifier>,
    /// How often the queue had been purged when that was last looked at.
    purges: u64,
    stop: watch::Receiver<bool>,
    fetching: watch::Receiver<Fetching>,
    loops: Vec<Handle>,
    next_loop: usize,
    /// Position of the last message that was read.
    read_to: i64,
    leases: Leases,
}

impl Consumer {
    async fn run(mut self) {
        let (mut stop, mut fetching) = (self.stop.clone(), self.fetching.clone());
        let mut deliveries = JoinSet::new();
        // What there is to read, and whether it is known when the next message is due.
        let (mut unread, mut due) = (Unread::More, None);
        while !self.app.is_removed() && !*stop.borrow() {
            self.deliver_due(&mut deliveries).await;
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
            let due_ms = due.unwrap_or(i64::MAX);
            // If there is no room, the end of a delivery makes some.
            let may_go_on = self.trigger().is_some_and(|(_, most)| self.has_room_again(most));
            let sessions_due_ms = self.leases.next_due().filter(|_| may_go_on).unwrap_or(i64::MAX);
            tokio::select! {
                () = self.notifier.notified() => {
                    self.heed_purges();
                    (unread, due) = (Unread::More, None);
                }
                Some(ended) = deliveries.join_next() => {
                    let has_more = self.end(ended, &mut deliveries).await;
                    if has_more || unread == Unread::NoRoom {
                        unread = Unread::More;
                    }
                }
                () = clock::until(due_ms) => {
                    if let Err(error) = self.queue.promote().await {
                        self.report(&error).await;
                    }
                    (unread, due) = (Unread::More, None);
                }
                () = clock::until(sessions_due_ms) => {}
                _ = stop.changed() => {}
                // The host ends where nobody is left to say it.
                Ok(()) = fetching.changed() => unread = Unread::More,
                () = tokio::task::yield_now(), if unread == Unread::More => {}
            }
        }
        // They end by themselves, or with the host.
        while deliveries.join_next().await.is_some() {}
    }

    /// Delivers the messages of sessions whose wait is over, as far as there is room.
    async fn deliver_due(&mut self, deliveries: &mut JoinSet<DeliveryEnd>) {
        while let Some((trigger, most)) = self.trigger()
            && self.has_room_again(most)
            && let Some((session, after)) = self.leases.take_due(clock::now_ms() as i64)
        {
            self.go_on(&trigger, session, after, deliveries).await;
        }
    }

    /// Whether one more session that has waited may continue, of `most` messages in flight. Half of them are for others, however
    /// many sessions fail again and again.
    fn has_room_again(&self, most: usize) -> bool {
        self.leases.count() < most && self.leases.again() < most.div_ceil(2)
    }

    /// Ends waits if messages were removed by an operator, because the waiting ones may be gone.
    fn heed_purges(&mut self) {
        let purges = self.notifier.purges();
        if std::mem::replace(&mut self.purges, purges) != purges {
            self.leases.end_waiting(clock::now_ms() as i64);
        }
    }

    /// Reads a page of messages, if there is room for them, and begins to deliver them. Returns what is left to read.
    async fn fetch(&mut self, deliveries: &mut JoinSet<DeliveryEnd>) -> Result<Unread, DbError> {
        let Some((trigger, most)) = self.trigger() else { return Ok(Unread::Nothing) };
        let room = most.saturating_sub(self.leases.count());
        let is_full = self.leases.bytes() >= limits::QUEUE_LEASED_BYTES_MAX
            || self.leases.waiting() >= limits::QUEUE_SESSIONS_WAITING_MAX;
        let of_others = most.saturating_sub(self.leases.again());
        if is_full || room == 0 || room < trigger.fetched_at_least(of_others) {
            return Ok(Unread::NoRoom);
        }
        let wanted = room.min(limits::QUEUE_PAGE_MAX);
        let messages = self.queue.ready(self.read_to, wanted).await?;
        let unread = if messages.len() == wanted { Unread::More } else { Unread::Nothing };
        self.read_to = messages.last().map_or(self.read_to, |last| last.position);
        let mut messages = self.leases.lease(messages, trigger.session, clock::now_ms() as i64);
        while !messages.is_empty() {
            let rest = messages.split_off(messages.len().min(trigger.messages_per_request()));
            self.deliver(trigger.clone(), std::mem::replace(&mut messages, rest), deliveries);
        }
        Ok(unread)
    }

    /// Returns the trigger of the revision that serves, if it still has it, and how many messages may be in flight.
    fn trigger(&self) -> Option<(PullTrigger, usize)> {
        let active = self.app.active();
        let trigger = active.revision.manifest.trigger.of_queue(&self.queue.place().store)?;
        let pool = active.pool_of(Group::Function(&trigger.name))?;
        let most = trigger.in_flight_max(pool.policy(), pool.concurrency());
        let is_paused = pool.is_dynamic() && *self.fetching.borrow() == Fetching::Paused;
        Some((trigger.clone(), if is_paused { 0 } else { most }))
    }

    fn deliver(
        &mut self,
        trigger: PullTrigger,
        messages: Vec<Message>,
        deliveries: &mut JoinSet<DeliveryEnd>,
    ) {
        let (app, queue, stop) = (self.app.clone(), self.queue.clone(), self.stop.clone());
        let delivery = Delivery { app, queue, stop, trigger, messages };
        self.next_loop = (self.next_loop + 1) % self.loops.len();
        deliveries.spawn_on(delivery.run(), &self.loops[self.next_loop]);
    }

    /// Handles the end of a delivery. Returns whether there is more to read because of it.
    async fn end(
        &mut self,
        ended: Result<DeliveryEnd, JoinError>,
        deliveries: &mut JoinSet<DeliveryEnd>,
    ) -> bool {
        // A call that panics is one that failed; nothing else here may.
        let Ok(DeliveryEnd { over, waiting, not_taken }) = ended else { return false };
        for (message, due_ms) in waiting {
            self.leases.wait(&message, due_ms);
        }
        // What nobody took is read again when there is somebody, and what would come after it, too.
        let mut again = self.leases.abandon(&not_taken);
        let Some((trigger, _)) = self.trigger() else {
            again = again.into_iter().chain(self.leases.abandon(&over)).min();
            self.read_to = again.map_or(self.read_to, |first| self.read_to.min(first - 1));
            return true;
        };
        let Released { sessions, passed_over } = self.leases.release(&over);
        for (session, after) in sessions {
            self.go_on(&trigger, session, after, deliveries).await;
        }
        again = again.into_iter().chain(passed_over).min();
        self.read_to = again.map_or(self.read_to, |first| self.read_to.min(first - 1));
        again.is_some()
    }

    /// Lets a session continue with its next message after the position `after`.
    async fn go_on(
        &mut self,
        trigger: &PullTrigger,
        session: String,
        after: i64,
        deliveries: &mut JoinSet<DeliveryEnd>,
    ) {
        let next = self.next_of_session(&session, after).await;
        if let Some(next) = self.leases.go_on(&session, next, clock::now_ms() as i64) {
            self.deliver(trigger.clone(), vec![next], deliveries);
        }
    }

    /// Returns the next message of a session. Asks until it is known or the trigger is gone, because otherwise the session would
    /// wait for ever.
    async fn next_of_session(&self, session: &str, after: i64) -> Option<Message> {
        while !self.app.is_removed() && !*self.stop.borrow() {
            match self.queue.next_of_session(session.to_owned(), after).await {
                Ok(next) => return next,
                Err(error) => self.report(&error).await,
            }
        }
        None
    }

    /// Logs an error of the database, and waits before the next attempt.
    async fn report(&self, error: &DbError) {
        let Place { app, store } = self.queue.place();
        tracing::error!("queue {store} of app {app}: {error}");
        tokio::time::sleep(limits::QUEUE_DB_PAUSE).await;
    }
}

/// What there is to read of a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// Nothing, until the notifier tells.
    Nothing,
    /// There may be more.
    More,
    /// There may be, but no room for it until a delivery ends.
    NoRoom,
}
