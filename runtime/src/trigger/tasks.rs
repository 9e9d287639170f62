//! Keeps one task for each queue or timer of an app, from the first deploy that needs it to the removal of the app.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::app::running::App;

/// The tasks of all apps, each for a key of its own.
pub struct AppTasks<K> {
    /// The event loop they run on.
    here: Option<Handle>,
    running: Mutex<HashMap<K, RunningTask>>,
}

struct RunningTask {
    /// The life of the app that it is for.
    app: Weak<App>,
    task: JoinHandle<()>,
}

impl<K: Eq + Hash> AppTasks<K> {
    /// None yet.
    pub fn new(here: Option<Handle>) -> Self {
        Self { here, running: Mutex::default() }
    }

    /// Begins the task of `key`, unless this app has it already. If an app of this name was removed and deployed again, the task
    /// of the old one ends first.
    pub fn begin<F>(&self, key: K, app: &Arc<App>, task: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = self.running.lock();
        if running.get(&key).is_some_and(|running| running.app.as_ptr() == Arc::as_ptr(app)) {
            return;
        }
        let Some(here) = &self.here else { return };
        let (before, task) = (running.remove(&key), task());
        let task = here.spawn(async move {
            if let Some(before) = before {
                // A panic was reported by its thread.
                let _ = before.task.await;
            }
            task.await;
        });
        running.retain(|_, running| !running.task.is_finished());
        running.insert(key, RunningTask { app: Arc::downgrade(app), task });
    }

    /// Calls `each` with the key of every task.
    pub fn for_each(&self, each: impl FnMut(&K)) {
        self.running.lock().keys().for_each(each);
    }

    /// Waits until the tasks that were told to stop have ended.
    pub async fn ended(&self) {
        let running: Vec<RunningTask> = self.running.lock().drain().map(|(_, running)| running).collect();
        for RunningTask { task, .. } in running {
            let _ = task.await;
        }
    }
}
