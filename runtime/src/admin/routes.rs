//! Lists the routes of the admin API: for each, who may use it, its parameters and its handler.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::middleware;
use axum::routing::{MethodFilter, any, get, on};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::admin::api::{self, Api};
use crate::admin::description::{Content, Kind, Needs, Operation, document, member, needed};
use crate::admin::error::ApiError;
use crate::admin::{
    access, blobs, certificates, dashboard, deploy, invocations, invoke, kv, logs, metrics, queues, secrets,
    triggers, upload, usage,
};
use crate::limits;

const SINCE: &[(&str, Kind)] = &[("since_ms", Kind::Count)];
const PAGE: &[(&str, Kind)] = &[("prefix", Kind::Text), ("after", Kind::Text), ("limit", Kind::Count)];
const LOGS: &[(&str, Kind)] = &[
    ("tail", Kind::Count),
    ("follow", Kind::Flag),
    ("since_ms", Kind::Count),
    ("search", Kind::Text),
    ("stream", Kind::OneOf(&["stdout", "stderr", "host"])),
    ("invocation", Kind::Text),
    ("status", Kind::Text),
];
const INVOCATIONS: &[(&str, Kind)] = &[
    ("limit", Kind::Count),
    ("after", Kind::Count),
    ("since_ms", Kind::Count),
    ("failed", Kind::Flag),
    ("outcome", Kind::Text),
    ("status", Kind::Text),
];
const MESSAGES: &[(&str, Kind)] = &[
    ("state", Kind::OneOf(&["ready", "waiting", "dead"])),
    ("order", Kind::Whole),
    ("number", Kind::Whole),
    ("limit", Kind::Count),
];
const MESSAGE: &[(&str, Kind)] =
    &[("id", Kind::Text), ("session", Kind::Text), ("delay", Kind::Number), ("ttl", Kind::Number)];
const DEPLOY: Content = Content::Json(&[
    needed("module", "string"),
    needed("manifest", "object"),
    member("canary", "integer"),
    member("dry_run", "boolean"),
]);
const SPLIT: Content = Content::Json(&[needed("percent", "integer"), member("revision", "integer")]);
const ROLLBACK: Content = Content::Json(&[member("revision", "integer")]);
const SCALE: Content = Content::Json(&[
    member("memory_mb", "integer"),
    member("concurrency", "integer"),
    member("workers", "integer"),
    member("always_ready", "integer"),
    member("max_instances", "integer"),
    member("scale_out_burst", "integer"),
    member("scale_out_per_second", "integer"),
    member("idle_timeout", "string"),
    member("timeout", "string"),
    member("isolation", "string"),
]);

/// Routes for callers of one role, with their descriptions.
struct Routes {
    router: Router<Arc<Api>>,
    needs: Needs,
    operations: Vec<(Operation, Needs)>,
}

impl Routes {
    fn new(needs: Needs) -> Self {
        Self { router: Router::new(), needs, operations: Vec::new() }
    }

    /// Lets `handler` answer `operation`.
    fn with<H: Handler<T, Arc<Api>>, T: 'static>(mut self, operation: Operation, handler: H) -> Self {
        let Operation { method, path, .. } = operation;
        let filter = [
            ("GET", MethodFilter::GET),
            ("HEAD", MethodFilter::HEAD),
            ("POST", MethodFilter::POST),
            ("PUT", MethodFilter::PUT),
            ("PATCH", MethodFilter::PATCH),
            ("DELETE", MethodFilter::DELETE),
        ];
        let filter = filter.into_iter().find(|(known, _)| *known == method);
        let answers = filter.map_or_else(|| any(handler.clone()), |(_, filter)| on(filter, handler.clone()));
        self.router = self.router.route(path, answers);
        self.operations.push((operation, self.needs));
        self
    }
}

/// Returns the routes that only show the host's state, for the dashboard. They show nothing that apps have stored.
fn seen() -> Routes {
    let get = |path, summary| Operation::new("GET", path, summary);
    Routes::new(Needs::TokenOrOpen)
        .with(get("/metrics", "metrics for Prometheus"), metrics::metrics)
        .with(get("/v1/host", "the host as a whole"), api::host)
        .with(get("/v1/usage", "what all apps have used").query(SINCE), usage::all)
        .with(get("/v1/apps", "all apps"), api::list)
        .with(get("/v1/apps/{app}", "one app"), api::status)
        .with(get("/v1/apps/{app}/revisions", "its kept revisions"), deploy::revisions)
        .with(get("/v1/apps/{app}/logs", "its log, and what follows").query(LOGS), logs::logs)
        .with(get("/v1/apps/{app}/scaling", "why it scaled"), api::scaling)
        .with(
            get("/v1/apps/{app}/invocations", "its latest invocations").query(INVOCATIONS),
            invocations::invocations,
        )
        .with(get("/v1/apps/{app}/series", "its last minutes").query(SINCE), invocations::series)
        .with(get("/v1/apps/{app}/usage", "what it has used").query(SINCE), usage::of_app)
        .with(get("/v1/apps/{app}/triggers", "what calls its functions"), triggers::list)
        .with(get("/v1/apps/{app}/queues", "its queues"), queues::list)
}

/// Returns the routes that change something or show what apps have stored.
fn changes() -> Routes {
    let get = |path, summary| Operation::new("GET", path, summary);
    let post = |path, summary| Operation::new("POST", path, summary);
    let patch = |path, summary| Operation::new("PATCH", path, summary);
    let delete = |path, summary| Operation::new("DELETE", path, summary);
    Routes::new(Needs::Token)
        .with(get("/v1/certificates", "the certificates of the host"), certificates::list)
        .with(post("/v1/certificates/{name}/renew", "orders a new one"), certificates::renew)
        .with(post("/v1/identity/rotate", "signs with a new key from now on"), api::rotate)
        .with(delete("/v1/apps/{app}", "removes it").query(&[("with_data", Kind::Flag)]), deploy::remove)
        .with(post("/v1/apps/{app}/revisions", "deploys").body(DEPLOY), deploy::deploy)
        .with(
            post("/v1/apps/{app}/rollback", "an earlier revision serves again").body(ROLLBACK),
            deploy::roll_back,
        )
        .with(post("/v1/apps/{app}/split", "a second revision takes a share").body(SPLIT), deploy::split)
        .with(patch("/v1/apps/{app}/scale", "other scale settings").body(SCALE), deploy::scale)
        .with(get("/v1/apps/{app}/secrets", "names of its secrets"), secrets::list)
        .with(
            patch("/v1/apps/{app}/secrets", "sets and removes secrets").body(Content::Texts),
            secrets::change,
        )
        .with(get("/v1/apps/{app}/kv", "its key-value stores"), kv::stores)
        .with(get("/v1/apps/{app}/kv/{store}", "a page of keys").query(PAGE), kv::list)
        .with(
            post("/v1/apps/{app}/queues/{queue}", "sends the body as a message")
                .query(MESSAGE)
                .body(Content::Bytes),
            queues::send,
        )
        .with(
            get("/v1/apps/{app}/queues/{queue}/messages", "a page of messages").query(MESSAGES),
            queues::messages,
        )
        .with(
            delete("/v1/apps/{app}/queues/{queue}/messages", "removes messages")
                .query(&[("dead", Kind::Flag)]),
            queues::purge,
        )
        .with(
            post("/v1/apps/{app}/queues/{queue}/replay", "delivers dead letters again")
                .query(&[("id", Kind::Text)]),
            queues::replay,
        )
        .with(post("/v1/apps/{app}/triggers/{function}/fire", "runs a timer function now"), triggers::fire)
        .with(get("/v1/apps/{app}/blobs", "its blob containers"), blobs::containers)
        .with(get("/v1/apps/{app}/blobs/{container}", "a page of blobs").query(PAGE), blobs::list)
}

/// Returns the routes that stream large bodies and limit them themselves.
fn streams() -> Routes {
    let invoke = |path| Operation::new("*", path, "calls the app").body(Content::Bytes);
    let put = |path, summary| Operation::new("PUT", path, summary).body(Content::Bytes);
    let head = |path| Operation::new("HEAD", path, "whether it is stored");
    let key = "/v1/apps/{app}/kv/{store}/{*key}";
    Routes::new(Needs::Token)
        .with(invoke("/v1/apps/{app}/invoke"), invoke::invoke)
        .with(invoke("/v1/apps/{app}/invoke/"), invoke::invoke)
        .with(invoke("/v1/apps/{app}/invoke/{*path}"), invoke::invoke)
        .with(Operation::new("GET", key, "a value"), kv::get)
        .with(put(key, "sets a value"), kv::put)
        .with(Operation::new("DELETE", key, "removes a key"), kv::delete)
        .with(
            Operation::new("*", "/v1/apps/{app}/blobs/{container}/{*name}", "a blob: GET, HEAD, PUT, DELETE")
                .body(Content::Bytes),
            blobs::blob,
        )
        .with(put("/v1/modules/{hash}", "stores a module"), upload::put_module)
        .with(head("/v1/modules/{hash}"), upload::has_module)
        .with(put("/v1/bundles/{hash}", "stores a bundle of files"), upload::put_bundle)
        .with(head("/v1/bundles/{hash}"), upload::has_bundle)
}

/// All routes, over `api`.
pub fn router(api: Arc<Api>) -> Router {
    let (seen, changes, streams) = (seen(), changes(), streams());
    let page = Operation::new("GET", "/", "the dashboard");
    let itself = Operation::new("GET", "/v1/openapi.json", "this document");
    let file = Operation::new("GET", "/dashboard/{file}", "what the dashboard loads");
    // These reveal nothing.
    let mut operations: Vec<_> = [page, file, itself].map(|operation| (operation, Needs::Nothing)).into();
    operations
        .extend([&seen, &changes, &streams].into_iter().flat_map(|routes| routes.operations.iter().copied()));
    let text = Bytes::from(document(&operations).to_string() + "\n");
    let seen = seen.router.layer(middleware::from_fn_with_state(api.clone(), access::may_see));
    let bounded = changes.router.layer(DefaultBodyLimit::max(limits::ADMIN_BODY_BYTES_MAX));
    let changes = bounded
        .merge(streams.router.layer(DefaultBodyLimit::disable()))
        .layer(middleware::from_fn_with_state(api.clone(), access::may_change));
    changes
        .merge(seen)
        .route(page.path, get(dashboard::page))
        .route(file.path, get(dashboard::file))
        .route(itself.path, get(async move || ([(CONTENT_TYPE, "application/json")], text)))
        .fallback(async || {
            ApiError::new(StatusCode::NOT_FOUND, "no-such-path", "there is nothing at this path")
        })
        .method_not_allowed_fallback(async || {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "this path takes other methods",
            )
        })
        .with_state(api)
}
