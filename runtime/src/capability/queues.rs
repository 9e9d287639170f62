//! Queues: durable messages for the functions of one app, sent by it, by apps it shares them with, and by operators.
//!
//! A send is answered after the message is on the disk. The message is delivered until a delivery succeeds or it
//! becomes a dead letter. [`crate::trigger::queue`] delivers; [`Queues::notifier`] tells it about new messages.

pub mod error;
#[cfg(test)]
mod faults;
pub mod http;
pub mod message;
pub mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::Transaction;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::capability::neighbours::Neighbours;
use crate::capability::queues::error::QueueError;
use crate::capability::queues::message::{Message, NewMessage};
use crate::capability::queues::table::{After, Failure, Sent, State, expiry};
use crate::capability::stores;
use crate::manifest::grants::{Grants, Kind, Place, StoreLabel};
use crate::names::AppName;
use crate::persist::db::Db;
use crate::persist::error::DbError;
use crate::{clock, limits};

/// The queues of all apps.
pub struct Queues {
    db: Arc<Db>,
    /// The trigger that delivers from a queue waits for its notifier.
    notifiers: Mutex<HashMap<Place, Arc<QueueNotifier>>>,
    /// Notified when a message with a time to live was sent.
    expiring: Notify,
}

/// Wakes the trigger that delivers from a queue.
#[derive(Default)]
pub struct QueueNotifier {
    changed: Notify,
    purges: AtomicU64,
}

impl QueueNotifier {
    /// There may be something to deliver.
    pub fn notify(&self) {
        self.changed.notify_one();
    }

    /// Waits for a notification. Returns at once if there was one since the last wait.
    pub async fn notified(&self) {
        self.changed.notified().await;
    }

    /// How often messages were removed by hand. Messages that were read before may be gone.
    pub fn purges(&self) -> u64 {
        self.purges.load(Ordering::Acquire)
    }
}

impl Queues {
    /// The queues in `db`.
    pub fn new(db: Arc<Db>) -> Arc<Self> {
        Arc::new(Self { db, notifiers: Mutex::default(), expiring: Notify::new() })
    }

    /// The queue at `place`.
    pub fn queue(self: &Arc<Self>, place: Place) -> Queue {
        Queue { queues: self.clone(), place }
    }

    /// The notifier of `place`, which is notified whenever there may be something to deliver.
    pub fn notifier(&self, place: &Place) -> Arc<QueueNotifier> {
        self.notifiers.lock().entry(place.clone()).or_default().clone()
    }

    /// Notifies the trigger at `place`. Call it after the change is committed.
    pub fn notify(&self, place: &Place) {
        if let Some(notifier) = self.notifiers.lock().get(place) {
            notifier.notify();
        }
    }

    /// Makes dead letters of messages whose time to live is over, for as long as it is polled. While no message can
    /// expire it only waits.
    pub async fn expire(&self) {
        loop {
            let done = match self.db.read(expiry::next).await {
                Ok(Some(next_ms)) => {
                    tokio::select! {
                        () = clock::until(next_ms) => self.expire_now().await,
                        // The new message may be the first to expire.
                        () = self.expiring.notified() => Ok(()),
                    }
                }
                Ok(None) => {
                    self.expiring.notified().await;
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::error!("look for messages whose time to live is over: {error}");
            }
            // Messages that expire soon after one another are handled together.
            tokio::time::sleep(limits::QUEUE_EXPIRY_PERIOD).await;
        }
    }

    async fn expire_now(&self) -> Result<(), DbError> {
        let some = limits::QUEUE_SWEEP_MAX;
        let expire =
            move |transaction: &Transaction<'_>| expiry::expire(transaction, clock::now_ms() as i64, some);
        while self.db.write(expire).await? == some {}
        Ok(())
    }

    /// Removes the messages of dropped queues, some in each transaction. If the host is killed meanwhile, the next
    /// start goes on.
    pub async fn sweep(&self) -> Result<(), DbError> {
        while self.db.write(table::sweep).await? {}
        Ok(())
    }
}

/// One queue.
#[derive(Clone)]
pub struct Queue {
    queues: Arc<Queues>,
    place: Place,
}

impl Queue {
    /// The owner and the name of the queue.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Stores a message and wakes the trigger.
    pub async fn send(&self, message: NewMessage) -> Result<Sent, QueueError> {
        check(&message)?;
        let (place, expires) = (self.place.clone(), message.time_to_live_ms.is_some());
        let send = move |transaction: &Transaction<'_>| {
            table::send(transaction, &place, &message, clock::now_ms() as i64)
        };
        let sent = self.queues.db.write_unless_refused(send).await?;
        self.queues.notify(&self.place);
        if expires {
            self.queues.expiring.notify_one();
        }
        Ok(sent)
    }

    /// Ready messages after position `after`, in order, at most `limit`.
    pub async fn ready(&self, after: i64, limit: usize) -> Result<Vec<Message>, DbError> {
        let place = self.place.clone();
        let read = move |connection: &rusqlite::Connection| match table::queue(connection, &place)? {
            Some(queue) => table::ready(connection, queue, after, limit),
            None => Ok(Vec::new()),
        };
        self.queues.db.read(read).await
    }

    /// The first ready message of `session` after position `after`.
    pub async fn next_of_session(&self, session: String, after: i64) -> Result<Option<Message>, DbError> {
        let place = self.place.clone();
        let read = move |connection: &rusqlite::Connection| match table::queue(connection, &place)? {
            Some(queue) => table::next_of_session(connection, queue, &session, after),
            None => Ok(None),
        };
        self.queues.db.read(read).await
    }

    /// When the next waiting message is due, in milliseconds since 1970.
    pub async fn next_due(&self) -> Result<Option<i64>, DbError> {
        let place = self.place.clone();
        let read = move |connection: &rusqlite::Connection| match table::queue(connection, &place)? {
            Some(queue) => table::next_due(connection, queue),
            None => Ok(None),
        };
        self.queues.db.read(read).await
    }

    /// Makes the messages ready that are due.
    pub async fn promote(&self) -> Result<(), DbError> {
        loop {
            let place = self.place.clone();
            let promote = move |transaction: &Transaction<'_>| match table::queue(transaction, &place)? {
                Some(queue) => {
                    table::promote(transaction, queue, clock::now_ms() as i64, limits::QUEUE_SWEEP_MAX)
                }
                None => Ok(0),
            };
            if self.queues.db.write(promote).await? < limits::QUEUE_SWEEP_MAX {
                return Ok(());
            }
        }
    }

    /// Removes messages that were delivered.
    pub async fn acknowledge(&self, numbers: Arc<[i64]>) -> Result<(), DbError> {
        let acknowledge = move |transaction: &Transaction<'_>| {
            numbers.iter().try_for_each(|&number| table::acknowledge(transaction, number).map(drop))
        };
        self.queues.db.write(acknowledge).await
    }

    /// Stores that a delivery failed. Returns whether the message existed.
    pub async fn fail(&self, failure: Failure) -> Result<bool, DbError> {
        let fail =
            move |transaction: &Transaction<'_>| table::fail(transaction, &failure, clock::now_ms() as i64);
        let was_there = self.queues.db.write(fail).await?;
        // The message may now be the next one that is due.
        self.queues.notify(&self.place);
        Ok(was_there)
    }

    /// A page of messages in one state, and where the next page begins.
    pub async fn page(
        &self,
        state: State,
        after: After,
        limit: usize,
    ) -> Result<(Vec<Message>, Option<After>), QueueError> {
        let limit = limit.clamp(1, limits::QUEUE_PAGE_MAX);
        let place = self.place.clone();
        // One message more than asked for shows whether there are more.
        let read =
            move |connection: &rusqlite::Connection| table::page(connection, &place, state, after, limit + 1);
        let mut found = self.queues.db.read(read).await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = if has_more { found.last().map(|(_, after)| *after) } else { None };
        Ok((found.into_iter().map(|(message, _)| message).collect(), next))
    }

    /// Makes dead letters ready again: the one with this id, or all. Returns how many.
    pub async fn replay(&self, id: Option<String>) -> Result<usize, QueueError> {
        let mut replayed = 0;
        loop {
            let (place, id) = (self.place.clone(), id.clone());
            let some = limits::QUEUE_SWEEP_MAX;
            let replay =
                move |transaction: &Transaction<'_>| table::replay(transaction, &place, id.as_deref(), some);
            let count = self.queues.db.write(replay).await.map_err(QueueError::from)?;
            replayed += count;
            if count < some {
                self.queues.notify(&self.place);
                return Ok(replayed);
            }
        }
    }

    /// Removes all messages in `states`. Returns how many.
    pub async fn purge(&self, states: &[State]) -> Result<usize, QueueError> {
        let mut removed = 0;
        for &state in states {
            loop {
                let place = self.place.clone();
                let some = limits::QUEUE_SWEEP_MAX;
                let purge =
                    move |transaction: &Transaction<'_>| table::purge(transaction, &place, state, some);
                let count = self.queues.db.write(purge).await.map_err(QueueError::from)?;
                removed += count;
                if count < some {
                    break;
                }
            }
        }
        let notifier = self.queues.notifier(&self.place);
        notifier.purges.fetch_add(1, Ordering::AcqRel);
        notifier.notify();
        Ok(removed)
    }
}

/// The queues that the guests of one revision may send to, and the memory for messages that they send.
pub struct QueueGrants {
    grants: Grants,
    pending: Arc<Semaphore>,
}

impl QueueGrants {
    /// Grants the `queues` that the manifest of `app` names.
    pub fn new(app: &AppName, queues: &[StoreLabel]) -> Self {
        let pending = Arc::new(Semaphore::new(limits::QUEUE_PENDING_BYTES_MAX));
        Self { grants: Grants::new(Kind::Queue, app, queues), pending }
    }

    /// The queue with the label `text` (`QUEUE` or `OWNER/QUEUE`), if the app may send to it now.
    pub fn queue(
        &self,
        neighbours: &dyn Neighbours,
        queues: &Arc<Queues>,
        text: &str,
    ) -> Result<Queue, QueueError> {
        let place = stores::granted(&self.grants, neighbours, text)?;
        Ok(queues.queue(place))
    }

    /// Waits until host memory for a message of `bytes` is reserved; for [`limits::QUEUE_MESSAGE_BYTES_MAX`] if that is
    /// less.
    pub async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, QueueError> {
        let bytes = bytes.min(limits::QUEUE_MESSAGE_BYTES_MAX) as u32;
        self.pending.clone().acquire_many_owned(bytes).await.map_err(|_| QueueError::Busy)
    }
}

fn check(message: &NewMessage) -> Result<(), QueueError> {
    if message.body.len() > limits::QUEUE_MESSAGE_BYTES_MAX {
        return Err(QueueError::MessageTooLarge);
    }
    let max = limits::QUEUE_PROPERTY_BYTES_MAX;
    let texts = [("id", &message.id), ("session", &message.session)];
    for (name, text) in texts {
        // They become header fields of a delivery.
        if text.as_ref().is_some_and(|text| !is_property(text)) {
            return Err(QueueError::InvalidMessage(format!(
                "{name}: use 1 to {max} printable characters of ASCII"
            )));
        }
    }
    if !message.content_type.is_empty() && !is_property(&message.content_type) {
        return Err(QueueError::InvalidMessage(format!(
            "content type: at most {max} printable characters of ASCII"
        )));
    }
    let longest_ms = limits::QUEUE_TIME_MAX.as_millis() as i64;
    let is_time = |time_ms: i64, least_ms: i64| (least_ms..=longest_ms).contains(&time_ms);
    if !is_time(message.delay_ms, 0) || message.time_to_live_ms.is_some_and(|life_ms| !is_time(life_ms, 1)) {
        return Err(QueueError::InvalidMessage("delay and time to live: at most seven days".into()));
    }
    Ok(())
}

fn is_property(text: &str) -> bool {
    (1..=limits::QUEUE_PROPERTY_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}
