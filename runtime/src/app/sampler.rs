//! Samples every scale group once a second: the points of the graphs, and how many records and log lines were left out.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::app::registry::Registry;
use crate::capability::CapabilityHost;
use crate::clock;
use crate::meter::GroupMeter;
use crate::meter::series::PoolView;
use crate::pool::resources::Resources;
use crate::trace::Tracer;

/// Time between two samples, in milliseconds. Samples are taken at the end of each second of the clock.
pub const PERIOD_MS: u64 = 1_000;

/// Samples until `stop` changes.
pub async fn run(registry: Arc<Registry>, host: Arc<CapabilityHost>, mut stop: watch::Receiver<bool>) {
    loop {
        let second_ms = clock::now_ms() / PERIOD_MS * PERIOD_MS;
        tokio::select! {
            () = clock::until((second_ms + PERIOD_MS) as i64) => look(&registry, host.tracer(), second_ms),
            _ = stop.changed() => return,
        }
    }
}

/// Takes the sample of the second that began at `second_ms`, at its end.
fn look(registry: &Registry, tracer: &Tracer, second_ms: u64) {
    let now_ms = second_ms + PERIOD_MS;
    tracer.passed(now_ms);
    let views = views(registry.resources());
    for app in registry.apps() {
        let meter = app.meter();
        meter.invocation_log.passed(now_ms);
        meter.log.tell_of_dropped(app.active().revision.id);
        for group in meter.groups() {
            let view = views.get(&Arc::as_ptr(&group)).copied().unwrap_or_default();
            group.series.note(second_ms, &group.counts, view);
        }
    }
}

/// Returns the sum of each group's pools: the one of the active revision, and those that drain.
pub fn views(resources: &Resources) -> HashMap<*const GroupMeter, PoolView> {
    let mut views = HashMap::<_, PoolView>::new();
    for pool in resources.pools() {
        *views.entry(Arc::as_ptr(pool.meter())).or_default() += pool.view();
    }
    views
}
