//! What a guest can reach beyond its own memory: decided by the app's manifest, nothing by default.

pub mod address;
pub mod connect;
pub mod egress;
pub mod guest;
pub mod internal;
pub mod key_value;
pub mod outbound;

use std::sync::{Arc, Weak};

use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody};

use crate::app::manifest::Manifest;
use crate::app::running::App;
use crate::capability::egress::{Destination, Egress, Refusal};
use crate::capability::internal::{CallDepth, Service};
use crate::capability::key_value::KeyValue;
use crate::capability::key_value::error::KeyValueError;
use crate::capability::outbound::{Outbound, OutboundHost, SendError};
use crate::ingress::http::LiveRoutes;
use crate::meter::Meter;
use crate::meter::log::{AppLog, GuestOutput};
use crate::names::AppName;
use crate::persist::db::Db;

/// What the capabilities of all apps share.
pub struct CapabilityHost {
    outbound: OutboundHost,
    /// Weak: the apps have capabilities.
    routes: Weak<LiveRoutes>,
    db: Arc<Db>,
}

impl CapabilityHost {
    /// What the apps of `routes` share; what they store goes to `db`.
    pub fn new(routes: &Arc<LiveRoutes>, db: &Arc<Db>) -> Arc<Self> {
        let (routes, db) = (Arc::downgrade(routes), db.clone());
        Arc::new(Self { outbound: OutboundHost::default(), routes, db })
    }

    /// Where what they store is.
    pub fn db(&self) -> &Arc<Db> {
        &self.db
    }

    /// The app `name`, if it is served.
    pub fn app(&self, name: &str) -> Option<Arc<App>> {
        self.routes.upgrade()?.load().app(name).cloned()
    }
}

/// What the guests of one revision may reach. Shared by its workers.
pub struct Capabilities {
    app: AppName,
    host: Arc<CapabilityHost>,
    env: Vec<(String, String)>,
    outbound: Outbound,
    key_value: KeyValue,
    meter: Arc<Meter>,
}

impl Capabilities {
    /// What `manifest` grants.
    pub fn new(
        manifest: &Manifest,
        host: &Arc<CapabilityHost>,
        meter: &Arc<Meter>,
    ) -> Result<Arc<Self>, String> {
        let egress = Egress::parse(&manifest.allowed_outbound_hosts, &manifest.env)?;
        let outbound = Outbound::new(egress, &host.outbound, meter.clone());
        let env = manifest.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let key_value = KeyValue::new(&manifest.name, &manifest.key_value_stores);
        let (app, host, meter) = (manifest.name.clone(), host.clone(), meter.clone());
        Ok(Arc::new(Self { app, host, env, outbound, key_value, meter }))
    }

    /// The app.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// What it shares with others.
    pub fn host(&self) -> &CapabilityHost {
        &self.host
    }

    /// Where it may send requests.
    pub fn egress(&self) -> &Egress {
        self.outbound.egress()
    }

    /// Which key-value stores it may use.
    pub fn key_value(&self) -> &KeyValue {
        &self.key_value
    }

    /// Says in the app's log what would grant a store that was refused, and in the host's what only its operator can
    /// mend.
    pub fn report(&self, error: &KeyValueError, output: &GuestOutput) {
        match error {
            KeyValueError::Refused(refusal) => {
                output.host_says(output.running(), &format!("refused a key-value store: {refusal}"));
            }
            KeyValueError::Db(error) => tracing::error!("key-value store of app {}: {error}", self.app),
            _ => {}
        }
    }

    /// Environment variables.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// The app's log.
    pub fn log(&self) -> &Arc<AppLog> {
        &self.meter.log
    }

    /// Sends a guest's request to where it wants to go, if it may. What is refused is said in the app's log.
    pub async fn send(
        &self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        output: &GuestOutput,
        depth: CallDepth,
    ) -> Result<http::Response<WasiBody>, HttpError> {
        let destination = Destination::of(request.uri()).ok_or(HttpError::HttpRequestUriInvalid)?;
        let sent = match internal::service(&destination) {
            Some(Service::Host) => internal::answer(self, request, output, depth).await,
            Some(Service::App(name)) => internal::call(self, &name, request, 0, depth).await,
            None => match self.egress().may_ask(&destination) {
                Ok(()) => self.outbound.send(request, &destination, options).await,
                Err(refusal) => Err(SendError::Refused(refusal)),
            },
        };
        sent.map_err(|error| match error {
            SendError::Http(error) => error,
            SendError::Refused(refusal) => {
                self.meter.counts.outbound_refusal();
                output.host_says(output.running(), &format!("refused a request to {destination}: {refusal}"));
                match refusal {
                    Refusal::Name { .. } => HttpError::HttpRequestDenied,
                    Refusal::Address { .. } => HttpError::DestinationIpProhibited,
                }
            }
        })
    }
}
