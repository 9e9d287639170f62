//! Calls functions for events other than HTTP requests. Each event becomes a request that goes through `dispatch` to the
//! function's own scale group.

mod call;
pub mod cloudevent;
pub mod delivery;
pub mod leases;
pub mod queue;
mod tasks;
pub mod timer;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::app::running::App;
use crate::capability::blobs::Blobs;
use crate::capability::queues::Queues;
use crate::persist::db::Db;
use crate::pool::dynamic::Fetching;
use crate::trigger::queue::Consumers;
use crate::trigger::timer::Timers;

/// The triggers of all apps.
pub struct TriggerHost {
    consumers: Consumers,
    timers: Timers,
    blobs: Arc<Blobs>,
}

impl TriggerHost {
    /// Makes it without triggers. It runs on `loops`, ends with `stop`, and fetches as much as `fetching` allows.
    pub fn new(
        db: Arc<Db>,
        queues: Arc<Queues>,
        blobs: Arc<Blobs>,
        loops: Vec<Handle>,
        stop: watch::Receiver<bool>,
        fetching: watch::Receiver<Fetching>,
    ) -> Arc<Self> {
        let timers = Timers::new(db, loops.first().cloned(), stop.clone());
        if let Some(here) = loops.first() {
            let (queues, mut stop) = (queues.clone(), stop.clone());
            here.spawn(async move {
                tokio::select! {
                    () = queues.expire() => {}
                    // If the sender is gone, the host is ending.
                    _ = stop.changed() => {}
                }
            });
        }
        Arc::new(Self { consumers: Consumers::new(queues, loops, stop, fetching), timers, blobs })
    }

    /// Follows the triggers of the revision of `app` that serves now; removes them if the app was removed.
    pub fn follow(&self, app: &Arc<App>) {
        let active = app.active();
        let listeners = &active.revision.manifest.trigger.blob;
        self.blobs.listeners().set(app.name(), if app.is_removed() { &[] } else { listeners });
        self.consumers.follow(app);
        self.timers.follow(app);
    }

    /// The timers.
    pub fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Waits until everything that was told to stop has ended.
    pub async fn ended(&self) {
        self.consumers.ended().await;
        self.timers.ended().await;
    }
}
