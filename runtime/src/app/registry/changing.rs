//! Orders changes: one at a time for each app. Different apps may start their guests at the same time, but the last part of a
//! change, from the check against the other apps to the switch, runs alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{
    Mutex as AsyncMutex, MutexGuard, OwnedMutexGuard, OwnedRwLockReadGuard, RwLock, RwLockWriteGuard,
};

use crate::names::AppName;

/// The changes of a registry that are under way.
#[derive(Default)]
pub(super) struct Changing {
    apps: Mutex<BTreeMap<AppName, Weak<AsyncMutex<()>>>>,
    end: AsyncMutex<()>,
    /// Shared by all changes that are under way.
    any: Arc<RwLock<()>>,
}

/// Marks a change of one app as under way until it is dropped.
pub(super) struct AppChange {
    _any: OwnedRwLockReadGuard<()>,
    _app: OwnedMutexGuard<()>,
}

/// How long to wait before trying again whether no change is under way.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Changing {
    /// Waits until no other change of `app` is under way.
    pub async fn app(&self, app: &AppName) -> AppChange {
        let _app = self.turns(app).lock_owned().await;
        AppChange { _any: self.any.clone().read_owned().await, _app }
    }

    /// Waits for a moment without any change, and lets none begin until the result is dropped. Changes do not queue behind this
    /// wait: a change may take minutes, and the others would have to wait for it.
    pub async fn none(&self) -> RwLockWriteGuard<'_, ()> {
        loop {
            if let Ok(none) = self.any.try_write() {
                return none;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until no other change is in its last part.
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
