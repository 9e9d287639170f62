//! The routes of the admin API, its token, and its listener.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, patch, post, put};
use http::header::AUTHORIZATION;
use http::{HeaderName, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener as TokioListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin::error::ApiError;
use crate::admin::{
    blobs, deploy, invocations, invoke, kv, logs, metrics, queues, secrets, triggers, upload, view,
};
use crate::app::registry::Registry;
use crate::ingress::connection::{self, Guarded, Watch, Watches};
use crate::limits;
use crate::names::AppName;

/// Carries the token where `authorization` belongs to the function that is invoked.
const TOKEN: HeaderName = HeaderName::from_static("wfn-token");

/// What the handlers share.
pub struct Api {
    /// The apps.
    pub registry: Arc<Registry>,
    /// SHA-256 of the token: comparing digests takes the same time for every wrong guess.
    token: [u8; 32],
    functions: SocketAddr,
    admin: SocketAddr,
    stop: watch::Receiver<bool>,
}

impl Api {
    /// An API for the holders of `token`.
    pub fn new(
        registry: Arc<Registry>,
        token: &str,
        functions: SocketAddr,
        admin: SocketAddr,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self { registry, token: Sha256::digest(token).into(), functions, admin, stop })
    }

    /// Changes when the host ends: answers without an end of their own end then.
    pub fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }

    fn router(self: Arc<Self>) -> Router {
        let apps = Router::new()
            .route("/v1/host", get(host))
            .route("/v1/identity/rotate", post(rotate))
            .route("/v1/apps", get(list))
            .route("/v1/apps/{app}", get(status).merge(delete(deploy::remove)))
            .route("/v1/apps/{app}/revisions", get(deploy::revisions).merge(post(deploy::deploy)))
            .route("/v1/apps/{app}/rollback", post(deploy::roll_back))
            .route("/v1/apps/{app}/scale", patch(deploy::scale))
            .route("/v1/apps/{app}/logs", get(logs::logs))
            .route("/v1/apps/{app}/scaling", get(scaling))
            .route("/v1/apps/{app}/invocations", get(invocations::invocations))
            .route("/v1/apps/{app}/series", get(invocations::series))
            .route("/metrics", get(metrics::metrics))
            .route("/v1/apps/{app}/secrets", get(secrets::list).merge(patch(secrets::change)))
            .route("/v1/apps/{app}/kv", get(kv::stores))
            .route("/v1/apps/{app}/kv/{store}", get(kv::list))
            .route("/v1/apps/{app}/queues", get(queues::list))
            .route("/v1/apps/{app}/queues/{queue}", post(queues::send))
            .route(
                "/v1/apps/{app}/queues/{queue}/messages",
                get(queues::messages).merge(delete(queues::purge)),
            )
            .route("/v1/apps/{app}/queues/{queue}/replay", post(queues::replay))
            .route("/v1/apps/{app}/triggers", get(triggers::list))
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
            .layer(middleware::from_fn_with_state(self.clone(), authorize))
            .with_state(self)
    }
}

/// Lets only holders of the token through, and takes it off the request.
async fn authorize(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let headers = request.headers_mut();
    let given = match headers.remove(TOKEN) {
        Some(token) => Some(token),
        None => headers.remove(AUTHORIZATION),
    };
    let text = given.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let digest: [u8; 32] = Sha256::digest(text.strip_prefix("Bearer ").unwrap_or(text)).into();
    if digest == api.token {
        return next.run(request).await;
    }
    let message = "the token is missing or wrong: pass the content of the data directory's token file \
                   (wfn: --token or WFN_TOKEN)";
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response()
}

async fn host(State(api): State<Arc<Api>>) -> axum::Json<serde_json::Value> {
    axum::Json(view::host(&api.registry, api.functions, api.admin))
}

/// `POST /v1/identity/rotate`: signs with a new key from now on.
async fn rotate(State(api): State<Arc<Api>>) -> Result<axum::Json<serde_json::Value>, ApiError> {
    let rotated = api.registry.refresh_identity(true).await;
    rotated.map_err(|error| ApiError::internal(error.to_string()))?;
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
