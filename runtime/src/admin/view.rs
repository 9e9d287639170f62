//! Makes the JSON in which the admin API shows apps, revisions and the host.

use serde_json::{Value, json};

use crate::admin::about::About;
use crate::app::registry::Registry;
use crate::app::revision::{Revision, Serving};
use crate::app::running::{App, Split};
use crate::pool::Pool;
use crate::{clock, limits};

/// Number of seconds that present numbers are averaged over: few enough to be recent, enough to be steady.
const RECENT_SECONDS: u64 = 10;

/// An app as `wfn status --json` shows it (SPEC 9).
pub fn app(app: &App) -> Value {
    let active = app.active();
    let revision = &active.revision;
    let policy = active.pool.policy();
    let now_ms = clock::now_ms();
    let groups: Vec<Value> = active.pools().map(|pool| group(pool, now_ms)).collect();
    let outbound = &app.meter().outbound;
    json!({
        "app": app.name(),
        "revision": revision.id,
        "kind": revision.kind,
        "language": revision.language,
        "module": revision.module,
        "memory_mb": policy.memory.megabytes(),
        "path": format!("/{}/", app.name()),
        "hosts": revision.manifest.hosts,
        "env": revision.manifest.env.keys().collect::<Vec<_>>(),
        "secrets": active.pool.template().capabilities().secret_names(),
        "isolation": policy.isolation,
        "timeout_ms": policy.timeout.as_millis() as u64,
        "idle_timeout_ms": policy.idle_timeout.as_millis() as u64,
        "created_ms": revision.created_ms,
        "key_value_stores": revision.manifest.key_value_stores,
        "blob_containers": revision.manifest.blob_containers,
        "queues": revision.manifest.queues,
        "allowed_outbound_hosts": revision.manifest.allowed_outbound_hosts,
        "outbound": {
            "requests": outbound.requests.now(),
            "refused": outbound.refused.now(),
            "connections": outbound.connections.now(),
        },
        "groups": groups,
        "split": active.split.as_ref().map(second),
    })
}

/// Returns the second revision of a split, with the present numbers of its instances. Its invocations are counted in the app's
/// group.
fn second(split: &Split) -> Value {
    let (policy, view) = (split.pool.policy(), split.pool.view());
    json!({
        "revision": split.revision.id,
        "percent": split.share.percent(),
        "kind": split.revision.kind,
        "module": split.revision.module,
        "memory_mb": policy.memory.megabytes(),
        "created_ms": split.revision.created_ms,
        "group": split.pool.group(),
        "concurrency": split.pool.concurrency(),
        "concurrency_is_dynamic": split.pool.is_dynamic(),
        "always_ready": policy.always_ready,
        "max_instances": policy.max_instances,
        "instances": view.instances,
        "instances_peak": view.instances_peak,
        "in_flight": view.in_flight,
        "waiting": view.waiting,
        "memory_bytes": view.memory_bytes,
    })
}

/// The second revision that is to serve, and its percentage.
pub fn split(serving: &Serving) -> Value {
    let split = serving.split.as_ref();
    json!(split.map(|(second, percent)| json!({ "revision": second.id, "percent": percent })))
}

/// The present numbers of one group.
fn group(pool: &Pool, now_ms: u64) -> Value {
    let (policy, view, meter) = (pool.policy(), pool.view(), pool.meter());
    let (counts, cold_starts) = (meter.counts.now(), meter.counts.cold_starts());
    let microseconds = |share| cold_starts.quantile(share).map(|took| took.as_nanos() as f64 / 1_000.0);
    json!({
        "group": pool.group(),
        "concurrency": pool.concurrency(),
        "concurrency_is_dynamic": pool.is_dynamic(),
        "always_ready": policy.always_ready,
        "max_instances": policy.max_instances,
        "scale_out_burst": policy.scale_out.burst,
        "scale_out_per_second": policy.scale_out.per_second,
        "instances": view.instances,
        "instances_peak": view.instances_peak,
        "in_flight": view.in_flight,
        "waiting": view.waiting,
        "memory_bytes": view.memory_bytes,
        "invocations": counts.invocations,
        "cold": counts.cold,
        "throttled": counts.throttled,
        "failed": counts.failed,
        "cold_start_us": { "p50": microseconds(0.5), "p99": microseconds(0.99), "max": microseconds(1.0) },
        "ran_us": counts.ran.as_micros() as u64,
        "cpu_us": counts.cpu.as_micros() as u64,
        "recent": meter.series.lately(now_ms, RECENT_SECONDS),
    })
}

/// Why an app scaled, as `wfn status --why --json` shows it.
pub fn scaling(app: &App) -> Value {
    let decisions = app.meter().scaling.decisions().into_iter().map(|decision| {
        let mut shown = json!(decision);
        shown["action"] = decision.reason.action().into();
        shown
    });
    json!({ "app": app.name(), "decisions": decisions.collect::<Vec<_>>() })
}

/// Returns a revision as `wfn versions --json` shows it, with the percentage of HTTP requests that it takes.
pub fn revision(revision: &Revision, active: bool, percent: u32) -> Value {
    json!({
        "revision": revision.id,
        "active": active,
        "percent": percent,
        "kind": revision.kind,
        "module": revision.module,
        "created_ms": revision.created_ms,
        "manifest": revision.manifest,
    })
}

/// Every app as `wfn ls --json` shows it.
pub fn apps(registry: &Registry) -> Value {
    let served: Vec<Value> = registry.apps().iter().map(|served| app(served)).collect();
    json!({ "apps": served, "broken": broken(registry) })
}

/// Apps that are stored but not served, with the reason.
fn broken(registry: &Registry) -> Vec<Value> {
    registry.broken().iter().map(|(app, reason)| json!({ "app": app, "reason": reason })).collect()
}

/// The host as a whole.
pub fn host(registry: &Registry, about: &About) -> Value {
    let resources = registry.resources();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "functions": format!("http://{}", about.functions),
        "https": about.https.map(|https| format!("https://{https}")),
        "admin": format!("http://{}", about.admin),
        "apps": registry.apps().len(),
        "broken": broken(registry),
        "cores": resources.machinery().cores(),
        "memory_quota_mb": resources.quota().limit_mb(),
        "memory_reserved_mb": resources.quota().reserved_mb(),
        "guest_memory_limit_bytes": resources.memory().limit_bytes(),
        "guest_memory_bytes": resources.memory().used_bytes(),
        "guest_memory_withheld_bytes": resources.memory().withheld_bytes(),
        "workers": resources.memory().workers(),
        "workers_max": limits::WORKERS_MAX,
    })
}
