//! What a pool makes before an invocation asks for it: always-ready instances, and workers in place of used ones.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::app::manifest::Isolation;
use crate::clock;
use crate::event_loop::current_core;
use crate::instance::Instance;
use crate::instance::sandbox::start_timed_out;
use crate::instance::worker::Worker;
use crate::invocation::Fault;
use crate::limits;
use crate::meter::scaling::Reason;
use crate::pool::Pool;

impl Pool {
    /// Makes the always-ready instances, or, if there are none, tries whether the guest starts at all.
    pub async fn prepare(self: &Arc<Self>) -> Result<(), Fault> {
        if self.policy.always_ready == 0 {
            // Without room in the quota the trial is left out: the first invocation will tell.
            if let Ok(instance) = self.resources.new_instance(self.policy.memory) {
                self.start_within(&instance).await?;
            }
            return Ok(());
        }
        self.fill_always_ready().await
    }

    /// Makes the always-ready instances that are missing, as far as the quota has room now; what does not
    /// fit yet is made when a later call finds room.
    pub async fn fill_always_ready(self: &Arc<Self>) -> Result<(), Fault> {
        while self.lacks_always_ready() {
            let decided = clock::now();
            let mut instance = self.resources.new_instance(self.policy.memory);
            if instance.is_err() {
                self.resources.make_room(self);
                instance = self.resources.new_instance(self.policy.memory);
            }
            let Ok(instance) = instance else { return Ok(()) };
            let worker = self.start_within(&instance).await?;
            self.meter().counts.cold_start(clock::now() - decided);
            self.open_always_ready(instance, worker);
            self.serve_line();
            // Others get a turn between two instances.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn open_always_ready(&self, instance: Arc<Instance>, worker: Option<Box<Worker>>) {
        let mut state = self.state.lock();
        // Demand may have opened the missing one meanwhile; then this one is surplus.
        if !state.draining && state.ledger.lacks_always_ready() {
            let core = state.ledger.instances() % self.resources.cores();
            let before = self.inputs(&state);
            state.ledger.open(instance, worker.into_iter().collect(), core, clock::now());
            self.note(&state, Reason::AlwaysReady, 1, before);
        }
    }

    fn lacks_always_ready(&self) -> bool {
        let state = self.state.lock();
        !state.draining && state.ledger.lacks_always_ready()
    }

    /// Makes a worker ahead: for a slot, or one that stays with `instance`.
    async fn start_within(&self, instance: &Arc<Instance>) -> Result<Option<Box<Worker>>, Fault> {
        self.resources.pulse().beat();
        let deadline = clock::now() + limits::START_TIMEOUT;
        let start = async {
            if self.template.is_shared() {
                let (template, resources) = (&self.template, &self.resources);
                instance.shared.stock(instance, template, resources, deadline).await.map(|()| None)
            } else {
                self.template.start(instance, deadline).await.map(Some)
            }
        };
        let started = tokio::time::timeout_at(deadline.into(), start).await;
        started.unwrap_or_else(|_| Err(start_timed_out(limits::START_TIMEOUT)))
    }

    /// A used-up worker is replaced ahead of the next invocation where one must not wait for it.
    pub(super) fn wants_stock(&self, number: usize) -> bool {
        self.policy.isolation == Isolation::Fresh || number < self.policy.always_ready as usize
    }

    /// Makes a worker for `instance` on this core, after what this thread is doing now.
    pub(super) fn restock(self: &Arc<Self>, number: usize, instance: Arc<Instance>) {
        let Ok(here) = Handle::try_current() else { return };
        let pool = self.clone();
        here.spawn(async move {
            match pool.start_within(&instance).await {
                Ok(None) => {}
                Ok(Some(worker)) => {
                    let refused = pool.state.lock().ledger.stock(number, &instance, worker, current_core());
                    // The instance was retired meanwhile or made a worker of its own: this one is surplus.
                    drop(refused);
                }
                Err(error) => {
                    pool.template.host_says(None, &format!("replace a used worker: {}", error.detail));
                }
            }
        });
    }
}
