//! Looks at every group once a second, for what is told by the second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::app::registry::Registry;
use crate::clock;
use crate::meter::GroupMeter;
use crate::pool::PoolView;
use crate::pool::resources::Resources;

/// From one look to the next.
pub const PERIOD: Duration = Duration::from_secs(1);

/// Looks until `stop` changes.
pub async fn run(registry: Arc<Registry>, mut stop: watch::Receiver<bool>) {
    let mut next = tokio::time::interval(PERIOD);
    next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = next.tick() => look(&registry),
            _ = stop.changed() => return,
        }
    }
}

fn look(registry: &Registry) {
    let views = views(registry.resources());
    let now_ms = clock::now_ms();
    for app in registry.apps() {
        let meter = app.meter();
        meter.log.tell_of_dropped(app.active().revision.id);
        for group in meter.groups() {
            let view = views.get(&Arc::as_ptr(&group)).copied().unwrap_or_default();
            group.series.note(now_ms, &group.counts, view);
        }
    }
}

/// What the pools of each group show together: that of the active revision, and those that drain.
pub fn views(resources: &Resources) -> HashMap<*const GroupMeter, PoolView> {
    let mut views = HashMap::<_, PoolView>::new();
    for pool in resources.pools() {
        *views.entry(Arc::as_ptr(pool.meter())).or_default() += pool.view();
    }
    views
}
