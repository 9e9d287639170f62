//! Finds the functions that listen to a blob, and stores their events.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use rusqlite::Transaction;

use crate::capability::blobs::error::BlobError;
use crate::capability::blobs::event::BlobEvent;
use crate::capability::blobs::table::Uploaded;
use crate::capability::queues::{Queues, table};
use crate::capability::request;
use crate::manifest::grants::Place;
use crate::manifest::triggers::pull::PullTrigger;
use crate::names::AppName;

/// The functions of blobs of all apps.
pub struct Listeners {
    queues: Arc<Queues>,
    of_container: RwLock<HashMap<Place, Vec<PullTrigger>>>,
}

impl Listeners {
    /// No functions yet. Their events will be stored in `queues`.
    pub fn new(queues: Arc<Queues>) -> Self {
        Self { queues, of_container: RwLock::default() }
    }

    /// Replaces the functions of blobs of `app`.
    pub fn set(&self, app: &AppName, triggers: &[PullTrigger]) {
        let mut of_container = self.of_container.write();
        of_container.retain(|place, _| place.app != *app);
        for trigger in triggers {
            let Some(container) = &trigger.container else { continue };
            let place = Place { app: app.clone(), store: container.clone() };
            of_container.entry(place).or_default().push(trigger.clone());
        }
    }

    /// The queues of the functions that listen to the blob `name` at `place`.
    pub fn of(&self, place: &Place, name: &str) -> Vec<Place> {
        let of_container = self.of_container.read();
        let all = of_container.get(place).map(Vec::as_slice).unwrap_or_default();
        let meant = all.iter().filter(|trigger| trigger.takes_blob(name));
        meant.map(|trigger| Place { app: place.app.clone(), store: trigger.queue().clone() }).collect()
    }

    /// Wakes the triggers that deliver from `queues`.
    pub fn notify(&self, queues: &[Place]) {
        queues.iter().for_each(|queue| self.queues.notify(queue));
    }
}

/// Stores the event of `blob` at `place` in each of `queues`, as part of the change that makes it visible.
pub fn store(
    transaction: &Transaction<'_>,
    queues: &[Place],
    place: &Place,
    blob: &Uploaded,
    now_ms: i64,
) -> Result<(), BlobError> {
    if queues.is_empty() {
        return Ok(());
    }
    let message = event_of(place, blob).message();
    for queue in queues {
        table::send(transaction, queue, &message, now_ms).map_err(BlobError::Event)?;
    }
    Ok(())
}

/// The event of `blob`, which was written at `place`.
fn event_of(place: &Place, blob: &Uploaded) -> BlobEvent {
    BlobEvent {
        container: place.store.to_string(),
        name: blob.name.as_str().to_owned(),
        etag: request::tag_text(blob.version),
        bytes: blob.bytes,
        content_type: blob.content_type.clone(),
    }
}
