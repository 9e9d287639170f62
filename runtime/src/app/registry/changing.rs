//! Which changes may go on at once: one at a time for an app, and those of different apps beside each other while their
//! guests start. The end of each, from the last look at the other apps to the switch, is alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, OwnedMutexGuard};

use crate::names::AppName;

/// The changes of a registry that are under way.
#[derive(Default)]
pub(super) struct Changing {
    apps: Mutex<BTreeMap<AppName, Weak<AsyncMutex<()>>>>,
    end: AsyncMutex<()>,
}

/// A change of one app is under way until this is dropped.
pub(super) type AppChange = OwnedMutexGuard<()>;

impl Changing {
    /// Waits until no other change of `app` is under way.
    pub async fn app(&self, app: &AppName) -> AppChange {
        self.turns(app).lock_owned().await
    }

    /// Waits until no other change ends.
    pub async fn end(&self) -> MutexGuard<'_, ()> {
        self.end.lock().await
    }

    fn turns(&self, app: &AppName) -> Arc<AsyncMutex<()>> {
        let mut apps = self.apps.lock();
        if let Some(turns) = apps.get(app).and_then(Weak::upgrade) {
            return turns;
        }
        apps.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::<AsyncMutex<()>>::default();
        apps.insert(app.clone(), Arc::downgrade(&turns));
        turns
    }
}
