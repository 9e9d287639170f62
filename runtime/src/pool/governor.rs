//! Samples the machine for groups with dynamic concurrency (SPEC 3.2): once a second it lets each group reconsider its value, and
//! it stores what they learn. What to do is decided by [`crate::pool::dynamic`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::meter::machine::MachineMeter;
use crate::persist::db::Db;
use crate::pool::dynamic::{CANARY_PERIOD, Fetching, HostSample, HostSamples, SAMPLE_PERIOD};
use crate::pool::resources::Resources;

/// Ticks of the canary in one sample.
const TICKS: u32 = (SAMPLE_PERIOD.as_millis() / CANARY_PERIOD.as_millis()) as u32;
/// How many samples are taken between two times that the learned values are stored: ten seconds (SPEC 3.1).
const STORE_EVERY: u32 = 10;

/// Samples the machine.
pub struct Governor {
    resources: Arc<Resources>,
    db: Arc<Db>,
    /// The event loops on which the canary runs.
    loops: Vec<Handle>,
    fetching: watch::Sender<Fetching>,
}

impl Governor {
    /// Makes a governor without samples, and a receiver that is told how much triggers may fetch whenever that, or a value, has
    /// changed.
    pub fn new(
        resources: Arc<Resources>,
        db: Arc<Db>,
        loops: Vec<Handle>,
    ) -> (Self, watch::Receiver<Fetching>) {
        let (fetching, heard) = watch::channel(Fetching::Free);
        (Self { resources, db, loops, fetching }, heard)
    }

    /// Samples as long as there are groups with dynamic concurrency, and otherwise waits for one. Never ends.
    pub async fn run(self) {
        let mut machine = MachineMeter::default();
        let mut samples = HostSamples::default();
        let mut unstored = 0;
        loop {
            if !self.resources.pools().iter().any(|pool| pool.is_dynamic()) {
                tokio::time::sleep(SAMPLE_PERIOD).await;
                continue;
            }
            let (due, missed) = self.canary().await;
            let used = machine.sample();
            let reading = samples.add(HostSample {
                cpu_permille: used.cpu_permille,
                memory_permille: used.memory_permille,
                canary_ticks_due: due,
                canary_ticks_missed: missed,
            });
            let now = Instant::now();
            let mut is_news = false;
            for pool in self.resources.pools() {
                is_news |= pool.observe(reading, now);
            }
            let fetching = reading.fetching();
            if is_news || *self.fetching.borrow() != fetching {
                self.fetching.send_replace(fetching);
            }
            unstored += 1;
            if unstored >= STORE_EVERY {
                unstored = 0;
                if let Err(error) = self.resources.learned().store(&self.db).await {
                    tracing::error!("store what was learned of concurrency: {error}");
                }
            }
        }
    }

    /// Sends a small task to each event loop every tenth of a second, for a second. Returns how many ticks were due, and how many
    /// of them the worst loop did not run in time.
    async fn canary(&self) -> (u32, u32) {
        let seen: Vec<Arc<AtomicU32>> = self.loops.iter().map(|_| Arc::default()).collect();
        let mut missed = vec![0; self.loops.len()];
        let begun = tokio::time::Instant::now();
        for tick in 1..=TICKS {
            for (event_loop, seen) in self.loops.iter().zip(&seen) {
                let seen = seen.clone();
                event_loop.spawn(async move { seen.store(tick, Ordering::Relaxed) });
            }
            tokio::time::sleep_until(begun + CANARY_PERIOD * tick).await;
            for (seen, missed) in seen.iter().zip(&mut missed) {
                *missed += u32::from(seen.load(Ordering::Relaxed) != tick);
            }
        }
        // If this task was late to send ticks, those are missed, too.
        let due = (begun.elapsed().as_millis() / CANARY_PERIOD.as_millis()) as u32;
        let late = due.saturating_sub(TICKS);
        (due.max(TICKS), missed.into_iter().max().unwrap_or_default() + late)
    }
}
