//! Which changes may go on at once: one at a time for an app, and those of different apps beside each other while their
//! guests start. The end of each, from the last look at the other apps to the switch, is alone.

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

/// A change of one app is under way until this is dropped.
pub(super) struct AppChange {
    _any: OwnedRwLockReadGuard<()>,
    _app: OwnedMutexGuard<()>,
}

/// How often it is looked for a moment without any change.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Changing {
    /// Waits until no other change of `app` is under way.
    pub async fn app(&self, app: &AppName) -> AppChange {
        let _app = self.turns(app).lock_owned().await;
        AppChange { _any: self.any.clone().read_owned().await, _app }
    }

    /// Waits for a moment without any change, and lets none begin until this is dropped. Changes do not wait for it to
    /// come: one may take minutes, and others are not to wait behind it.
    pub async fn none(&self) -> RwLockWriteGuard<'_, ()> {
        loop {
            if let Ok(none) = self.any.try_write() {
                return none;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
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
