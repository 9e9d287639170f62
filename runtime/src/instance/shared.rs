//! The asynchronous workers of one instance: invocations go to the one with the fewest.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::app::manifest::{Isolation, ScalePolicy};
use crate::instance::Instance;
use crate::instance::template::Template;
use crate::instance::worker_p3::AsyncWorker;
use crate::invocation::Fault;
use crate::pool::resources::Resources;

/// Workers that take many invocations at a time. Dropped with their instance, they end.
#[derive(Default)]
pub struct SharedWorkers {
    workers: Mutex<Vec<Arc<AsyncWorker>>>,
    /// One start at a time: whoever comes meanwhile shares the new worker.
    starting: tokio::sync::Mutex<()>,
}

impl SharedWorkers {
    /// Makes a worker ahead, unless `instance`, whose workers these are, has one.
    pub async fn stock(
        &self,
        instance: &Instance,
        template: &Template,
        resources: &Arc<Resources>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let _turn = self.starting.lock().await;
        if self.is_empty() {
            let worker = template.start_shared(instance, deadline, resources).await?;
            self.workers.lock().push(worker);
        }
        Ok(())
    }

    /// Whether there is none that takes invocations.
    pub fn is_empty(&self) -> bool {
        self.workers.lock().iter().all(|worker| worker.is_retired())
    }

    /// The least loaded worker of `instance`, whose workers these are. One is started where there is none, or
    /// where all are in use and the policy allows more.
    pub async fn least_loaded(
        &self,
        instance: &Instance,
        template: &Template,
        resources: &Arc<Resources>,
        deadline: Instant,
    ) -> Result<Arc<AsyncWorker>, Fault> {
        if let Some(worker) = self.pick(template.policy()) {
            return Ok(worker);
        }
        let _turn = self.starting.lock().await;
        if let Some(worker) = self.pick(template.policy()) {
            return Ok(worker);
        }
        let worker = template.start_shared(instance, deadline, resources).await?;
        if template.policy().isolation == Isolation::Reuse {
            self.workers.lock().push(worker.clone());
        }
        Ok(worker)
    }

    fn pick(&self, policy: &ScalePolicy) -> Option<Arc<AsyncWorker>> {
        let mut workers = self.workers.lock();
        workers.retain(|worker| !worker.is_retired());
        if policy.isolation == Isolation::Fresh {
            return workers.pop();
        }
        let least = workers.iter().min_by_key(|worker| worker.load())?;
        let may_start = least.load() > 0 && workers.len() < policy.workers as usize;
        (!may_start).then(|| least.clone())
    }
}

impl Drop for SharedWorkers {
    fn drop(&mut self) {
        for worker in self.workers.get_mut() {
            worker.retire(false);
        }
    }
}
