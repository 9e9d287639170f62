//! The routes of the admin API, and its listener.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::middleware;
use axum::response::Response;
use axum::routing::{any, delete, get, patch, post, put};
use http::StatusCode;
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener as TokioListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin::access::Access;
use crate::admin::error::ApiError;
use crate::admin::{
    access, blobs, dashboard, deploy, invocations, invoke, kv, logs, metrics, queues, secrets, triggers,
    upload, usage, view,
};
use crate::app::registry::Registry;
use crate::capability::CapabilityHost;
use crate::ingress::connection::{self, Guarded, Watch, Watches};
use crate::limits;
use crate::meter::usage::price::PriceTable;
use crate::names::AppName;

/// What the handlers share.
pub struct Api {
    /// The apps.
    pub registry: Arc<Registry>,
    /// What they may use.
    pub capabilities: Arc<CapabilityHost>,
    /// Who may do what.
    pub access: Access,
    functions: SocketAddr,
    admin: SocketAddr,
    /// What use costs.
    pub prices: PriceTable,
    stop: watch::Receiver<bool>,
}

impl Api {
    /// An API for those that `access` lets in.
    pub fn new(
        registry: Arc<Registry>,
        capabilities: Arc<CapabilityHost>,
        access: Access,
        [functions, admin]: [SocketAddr; 2],
        prices: PriceTable,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self { registry, capabilities, access, functions, admin, prices, stop })
    }

    /// Changes when the host ends: answers without an end of their own end then.
    pub fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }

    fn router(self: Arc<Self>) -> Router {
        // What is seen of the host, for its dashboard; nothing that apps have stored.
        let seen = Router::new()
            .route("/metrics", get(metrics::metrics))
            .route("/v1/host", get(host))
            .route("/v1/usage", get(usage::all))
            .route("/v1/apps", get(list))
            .route("/v1/apps/{app}", get(status))
            .route("/v1/apps/{app}/revisions", get(deploy::revisions))
            .route("/v1/apps/{app}/logs", get(logs::logs))
            .route("/v1/apps/{app}/scaling", get(scaling))
            .route("/v1/apps/{app}/invocations", get(invocations::invocations))
            .route("/v1/apps/{app}/series", get(invocations::series))
            .route("/v1/apps/{app}/usage", get(usage::of_app))
            .route("/v1/apps/{app}/triggers", get(triggers::list))
            .route("/v1/apps/{app}/queues", get(queues::list))
            .layer(middleware::from_fn_with_state(self.clone(), access::may_see));
        let apps = Router::new()
            .route("/v1/identity/rotate", post(rotate))
            .route("/v1/apps/{app}", delete(deploy::remove))
            .route("/v1/apps/{app}/revisions", post(deploy::deploy))
            .route("/v1/apps/{app}/rollback", post(deploy::roll_back))
            .route("/v1/apps/{app}/split", post(deploy::split))
            .route("/v1/apps/{app}/scale", patch(deploy::scale))
            .route("/v1/apps/{app}/secrets", get(secrets::list).merge(patch(secrets::change)))
            .route("/v1/apps/{app}/kv", get(kv::stores))
            .route("/v1/apps/{app}/kv/{store}", get(kv::list))
            .route("/v1/apps/{app}/queues/{queue}", post(queues::send))
            .route(
                "/v1/apps/{app}/queues/{queue}/messages",
                get(queues::messages).merge(delete(queues::purge)),
            )
            .route("/v1/apps/{app}/queues/{queue}/replay", post(queues::replay))
            .route("/v1/apps/{app}/triggers/{function}/fire", post(triggers::fire))
            .route("/v1/apps/{app}/blobs", get(blobs::containers))
            .route("/v1/apps/{app}/blobs/{container}", get(blobs::list))
            .layer(DefaultBodyLimit::max(limits::ADMIN_BODY_BYTES_MAX));
        // Their bodies are bounded by themselves, because they stream.
        let streaming = Router::new()
            .route("/v1/apps/{app}/invoke", any(invoke::invoke))
            .route("/v1/apps/{app}/invoke/", any(invoke::invoke))
            .route("/v1/apps/{app}/invoke/{*path}", any(invoke::invoke))
            .route("/v1/apps/{app}/kv/{store}/{*key}", get(kv::get).put(kv::put).delete(kv::delete))
            .route("/v1/apps/{app}/blobs/{container}/{*name}", any(blobs::blob))
            .route("/v1/modules/{hash}", put(upload::put_module).head(upload::has_module))
            .route("/v1/bundles/{hash}", put(upload::put_bundle).head(upload::has_bundle))
            .layer(DefaultBodyLimit::disable());
        apps.merge(streaming)
            .layer(middleware::from_fn_with_state(self.clone(), access::may_change))
            .merge(seen)
            // They tell nothing.
            .route("/", get(dashboard::page))
            .route("/dashboard/{file}", get(dashboard::file))
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
            .with_state(self)
    }
}

async fn host(State(api): State<Arc<Api>>) -> axum::Json<serde_json::Value> {
    axum::Json(view::host(&api.registry, api.functions, api.admin))
}

/// `POST /v1/identity/rotate`: signs with a new key from now on.
async fn rotate(State(api): State<Arc<Api>>) -> Result<axum::Json<serde_json::Value>, ApiError> {
    api.registry.refresh_identity(true).await?;
    Ok(axum::Json(serde_json::json!({ "rotated": true })))
}

async fn list(State(api): State<Arc<Api>>) -> axum::Json<serde_json::Value> {
    axum::Json(view::apps(&api.registry))
}

async fn status(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
) -> Result<axum::Json<serde_json::Value>, ApiError> {
    let app = api.registry.app(&AppName::new(&app)?)?;
    Ok(axum::Json(view::app(&app)))
}

async fn scaling(
    State(api): State<Arc<Api>>,
    Path(app): Path<String>,
) -> Result<axum::Json<serde_json::Value>, ApiError> {
    let app = api.registry.app(&AppName::new(&app)?)?;
    Ok(axum::Json(view::scaling(&app)))
}

/// Reads a JSON body; the error says where it is wrong.
pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request("invalid-json", error.to_string()))
}

/// Serves the API on `listener` until `stop` changes, with the same time limits as functions have.
pub async fn serve(listener: TcpListener, api: Arc<Api>, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let listener = TokioListener::from_std(listener)?;
    let router = api.router();
    let mut connections = JoinSet::new();
    let watches = Arc::<Watches>::default();
    let mut next_watch = Instant::now() + connection::WATCH_PERIOD;
    loop {
        let stream = tokio::select! {
            accepted = listener.accept(), if connections.len() < ADMIN_CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    // Answers of several parts would wait for the client's delayed acknowledgement. A client
                    // that is gone already fails here, and again where it is served.
                    let _ = stream.set_nodelay(true);
                    stream
                }
                Err(error) => {
                    tracing::debug!("accept on the admin listener: {error}");
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
            () = tokio::time::sleep_until(next_watch) => {
                watches.end_overdue();
                next_watch += connection::WATCH_PERIOD;
                continue;
            }
            _ = stop.changed() => break,
        };
        let (router, watches) = (router.clone(), watches.clone());
        connections.spawn(async move {
            let service = |watch: Arc<Watch>| {
                service_fn(move |request: http::Request<Incoming>| {
                    let active = watch.begin(request.version());
                    let mut router = router.clone();
                    async move {
                        let answered =
                            tower_service::Service::call(&mut router, request.map(Body::new)).await;
                        answered.map(|response: Response| response.map(|body| Guarded::new(body, active)))
                    }
                })
            };
            connection::serve(stream, &watches, service).await;
        });
    }
    watches.drain();
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Open connections of the admin listener.
const ADMIN_CONNECTIONS_MAX: usize = 256;
