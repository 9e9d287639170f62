//! `GET /metrics`: the metrics for Prometheus. Labels are names of deployed apps and groups, and fixed words.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use crate::admin::api::Api;
use crate::app::registry::Registry;
use crate::app::running::App;
use crate::app::sampler;
use crate::limits;
use crate::meter::GroupMeter;
use crate::meter::counts::Counts;
use crate::meter::histogram::Durations;
use crate::meter::metrics::{self, Exposition, Kind};
use crate::meter::series::PoolView;
use crate::tls::certificates::Certificates;

/// Answers with all metrics.
pub async fn metrics(State(api): State<Arc<Api>>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text(&api)).into_response()
}

/// Name and help of a family, and the function that returns its values.
type Family<T, V> = (&'static str, &'static str, fn(&T) -> V);

/// A group with its app.
struct Group {
    app: Arc<App>,
    meter: Arc<GroupMeter>,
    view: PoolView,
}

impl Group {
    fn labels(&self) -> [(&'static str, &str); 2] {
        [("app", self.app.name().as_str()), ("group", self.meter.name())]
    }
}

fn text(api: &Api) -> String {
    let (registry, mut text) = (&api.registry, Exposition::default());
    host(&mut text, registry);
    certificates(&mut text, &api.about.certificates);
    text.family(
        "wfn_trace_spans_dropped_total",
        Kind::Counter,
        "Spans that the collector of traces did not get or did not take.",
    );
    text.metric(&[], api.capabilities.tracer().dropped());
    let views = sampler::views(registry.resources());
    let apps = registry.apps();
    let groups: Vec<Group> = apps
        .iter()
        .flat_map(|app| app.meter().groups().into_iter().map(|meter| (app.clone(), meter)))
        .map(|(app, meter)| {
            let view = views.get(&Arc::as_ptr(&meter)).copied().unwrap_or_default();
            Group { app, meter, view }
        })
        .collect();
    invocations(&mut text, &groups);
    durations(&mut text, &groups);
    gauges(&mut text, &groups);
    of_apps(&mut text, &apps);
    text.into_text()
}

fn host(text: &mut Exposition, registry: &Registry) {
    text.family("wfn_info", Kind::Gauge, "Always 1; says which version runs.");
    text.metric(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let (quota, memory) = (registry.resources().quota(), registry.resources().memory());
    let bytes = |megabytes: u64| megabytes * limits::MEBIBYTE;
    let gauges = [
        ("wfn_apps", "Apps that are deployed.", registry.apps().len() as u64),
        ("wfn_apps_broken", "Apps that are stored but not served.", registry.broken().len() as u64),
        ("wfn_memory_quota_bytes", "Memory classes that all instances may reserve.", bytes(quota.limit_mb())),
        (
            "wfn_memory_reserved_bytes",
            "Memory classes that all instances reserve.",
            bytes(quota.reserved_mb()),
        ),
        ("wfn_guest_memory_limit_bytes", "Memory that all guests may hold.", memory.limit_bytes()),
        ("wfn_guest_memory_bytes", "Memory that all guests hold.", memory.used_bytes()),
        (
            "wfn_guest_memory_withheld_bytes",
            "Memory that guests do not get, because the host itself holds more than it may.",
            memory.withheld_bytes(),
        ),
        ("wfn_workers", "Live workers of all instances.", memory.workers() as u64),
    ];
    for (name, help, value) in gauges {
        text.family(name, Kind::Gauge, help);
        text.metric(&[], value);
    }
}

fn certificates(text: &mut Exposition, certificates: &Certificates) {
    text.family(
        "wfn_certificate_not_after_seconds",
        Kind::Gauge,
        "Until when a certificate holds, since 1970.",
    );
    for (_, certificate) in certificates.all() {
        let name = certificate.names.first().map(String::as_str).unwrap_or_default();
        text.metric(&[("name", name)], certificate.not_after);
    }
}

fn invocations(text: &mut Exposition, groups: &[Group]) {
    text.family("wfn_invocations_total", Kind::Counter, "Invocations that got a slot, by how they ended.");
    for group in groups {
        let [app, name] = group.labels();
        for (outcome, count) in group.meter.counts.by_outcome() {
            text.metric(&[app, name, ("outcome", outcome)], count);
        }
    }
    text.family("wfn_throttled_total", Kind::Counter, "Invocations that a bound refused.");
    for group in groups {
        let [app, name] = group.labels();
        for (reason, count) in group.meter.counts.by_throttle() {
            text.metric(&[app, name, ("reason", reason)], count);
        }
    }
    text.family("wfn_cold_total", Kind::Counter, "Instances made because an invocation needed one.");
    for group in groups {
        text.metric(&group.labels(), group.meter.counts.now().cold);
    }
    text.family("wfn_cpu_seconds_total", Kind::Counter, "Processor time that guests used.");
    for group in groups {
        text.metric(&group.labels(), group.meter.counts.now().cpu.as_secs_f64());
    }
}

fn durations(text: &mut Exposition, groups: &[Group]) {
    let families: [Family<Counts, Durations>; 3] = [
        ("wfn_run_seconds", "From the slot to the end of the answer.", Counts::runs),
        ("wfn_wait_seconds", "In the wait queue, of invocations that had to wait for a slot.", Counts::waits),
        (
            "wfn_cold_start_seconds",
            "From the decision to make an instance until it was ready.",
            Counts::cold_starts,
        ),
    ];
    for (name, help, of) in families {
        text.family(name, Kind::Histogram, help);
        for group in groups {
            text.histogram(&group.labels(), &of(&group.meter.counts));
        }
    }
}

fn gauges(text: &mut Exposition, groups: &[Group]) {
    let families: [Family<PoolView, u64>; 4] = [
        ("wfn_instances", "Instances that exist.", |view| view.instances as u64),
        ("wfn_in_flight", "Slots that are taken.", |view| view.in_flight as u64),
        ("wfn_waiting", "Invocations in the wait queue.", |view| view.waiting as u64),
        ("wfn_memory_bytes", "Linear memory of all instances.", |view| view.memory_bytes),
    ];
    for (name, help, of) in families {
        text.family(name, Kind::Gauge, help);
        for group in groups {
            text.metric(&group.labels(), of(&group.view));
        }
    }
}

fn of_apps(text: &mut Exposition, apps: &[Arc<App>]) {
    text.family(
        "wfn_scale_decisions_total",
        Kind::Counter,
        "Instances added or retired, or invocations that had to wait for one, by reason.",
    );
    for app in apps {
        for (reason, count) in app.meter().scaling.by_reason() {
            text.metric(&[("app", app.name().as_str()), ("reason", reason)], count);
        }
    }
    let families: [Family<App, u64>; 4] = [
        ("wfn_outbound_requests_total", "Requests that guests sent.", |app| {
            app.meter().outbound.requests.now()
        }),
        ("wfn_outbound_refused_total", "Requests of guests that the policy refused.", |app| {
            app.meter().outbound.refused.now()
        }),
        ("wfn_outbound_connections_total", "Connections opened for requests of guests.", |app| {
            app.meter().outbound.connections.now()
        }),
        ("wfn_log_lines_dropped_total", "Log lines dropped because too many came at once.", |app| {
            app.meter().log.dropped()
        }),
    ];
    for (name, help, of) in families {
        text.family(name, Kind::Counter, help);
        for app in apps {
            text.metric(&[("app", app.name().as_str())], of(app));
        }
    }
}
