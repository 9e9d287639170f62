//! What a guest can reach beyond its own memory: decided by the app's manifest, nothing by default.

pub mod address;
pub mod connect;
pub mod egress;
pub mod guest;
pub mod outbound;

use std::sync::Arc;

use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody};

use crate::app::manifest::Manifest;
use crate::capability::egress::{Destination, Egress, Refusal};
use crate::capability::outbound::{Outbound, OutboundHost, SendError};
use crate::meter::Meter;
use crate::meter::log::{AppLog, GuestOutput};

/// What the capabilities of all apps share.
#[derive(Default)]
pub struct CapabilityHost {
    outbound: OutboundHost,
}

/// What the guests of one revision may reach. Shared by its workers.
pub struct Capabilities {
    env: Vec<(String, String)>,
    outbound: Outbound,
    meter: Arc<Meter>,
}

impl Capabilities {
    /// What `manifest` grants.
    pub fn new(manifest: &Manifest, host: &CapabilityHost, meter: &Arc<Meter>) -> Result<Arc<Self>, String> {
        let egress = Egress::parse(&manifest.allowed_outbound_hosts, &manifest.env)?;
        let outbound = Outbound::new(egress, &host.outbound, meter.clone());
        let env = manifest.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Arc::new(Self { env, outbound, meter: meter.clone() }))
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
    ) -> Result<http::Response<WasiBody>, HttpError> {
        let destination = Destination::of(request.uri()).ok_or(HttpError::HttpRequestUriInvalid)?;
        let sent = match self.outbound.may_ask(&destination) {
            Ok(()) => self.outbound.send(request, &destination, options).await,
            Err(refusal) => Err(SendError::Refused(refusal)),
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
