//! Chooses among the asynchronous workers of one instance: invocations go to the one with the fewest.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::event_loop::current_core;
use crate::instance::worker_p3::AsyncWorker;
use crate::invocation::Fault;
use crate::manifest::{Isolation, OrAuto, ScalePolicy};

/// Workers that take many invocations at a time. They end when they are dropped with their instance.
#[derive(Default)]
pub struct SharedWorkers {
    workers: Mutex<Vec<Arc<AsyncWorker>>>,
    /// Lets one start run at a time. A caller that comes meanwhile shares the new worker.
    starting: tokio::sync::Mutex<()>,
}

impl SharedWorkers {
    /// Makes a worker in advance with `start`, unless there is one.
    pub async fn stock(
        &self,
        start: impl AsyncFnOnce() -> Result<Arc<AsyncWorker>, Fault>,
    ) -> Result<(), Fault> {
        let _turn = self.starting.lock().await;
        if self.is_empty() {
            let worker = start().await?;
            self.workers.lock().push(worker);
        }
        Ok(())
    }

    /// Whether no worker takes invocations.
    pub fn is_empty(&self) -> bool {
        self.workers.lock().iter().all(|worker| worker.is_retired())
    }

    /// Returns the worker that takes the next invocation: the least loaded, or, with an automatic number, the one of this core.
    /// Makes one with `start` if there is none, or if all are in use (automatic: busy at this moment) and the policy allows more
    /// (automatic: one for each of `cores`).
    pub async fn choose(
        &self,
        policy: &ScalePolicy,
        cores: usize,
        start: impl AsyncFnOnce() -> Result<Arc<AsyncWorker>, Fault>,
    ) -> Result<Arc<AsyncWorker>, Fault> {
        if let Some(worker) = self.pick(policy, cores) {
            return Ok(worker);
        }
        let _turn = self.starting.lock().await;
        if let Some(worker) = self.pick(policy, cores) {
            return Ok(worker);
        }
        let worker = start().await?;
        if policy.isolation == Isolation::Reuse {
            self.workers.lock().push(worker.clone());
        }
        Ok(worker)
    }

    fn pick(&self, policy: &ScalePolicy, cores: usize) -> Option<Arc<AsyncWorker>> {
        let mut workers = self.workers.lock();
        workers.retain(|worker| !worker.is_retired());
        if policy.isolation == Isolation::Fresh {
            return workers.pop();
        }
        let core = current_core();
        let (best, may_start) = match policy.workers {
            OrAuto::Fixed(most) => {
                let least = workers.iter().min_by_key(|worker| (worker.load(), !worker.is_near(core)))?;
                (least, least.load() > 0 && workers.len() < most.get() as usize)
            }
            // Invocations that wait in a worker cost nothing. What matters is which worker can run this one now.
            OrAuto::Auto => {
                let rank =
                    |worker: &&Arc<AsyncWorker>| (worker.computes(), !worker.is_near(core), worker.load());
                let best = workers.iter().min_by_key(rank)?;
                (best, workers.len() < cores && (best.is_busy() || best.is_called_from_afar(core)))
            }
        };
        (!may_start).then(|| best.clone())
    }
}

impl Drop for SharedWorkers {
    fn drop(&mut self) {
        for worker in self.workers.get_mut() {
            worker.retire(false);
        }
    }
}
