//! A guest's own requests: to the host itself, to another app, or out.

use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody};

use crate::capability::Capabilities;
use crate::capability::internal::{self, Service};
use crate::capability::outbound::SendError;
use crate::manifest::egress::{Destination, Refusal};
use crate::meter::output::GuestOutput;
use crate::request::Origin;

impl Capabilities {
    /// Sends a guest's request to where it wants to go, if it may. What is refused is said in the app's log.
    pub async fn send(
        &self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        output: &GuestOutput,
        origin: Origin,
    ) -> Result<http::Response<WasiBody>, HttpError> {
        let destination = Destination::of(request.uri()).ok_or(HttpError::HttpRequestUriInvalid)?;
        let (method, tracer) = (request.method().clone(), self.host().tracer());
        let Origin { depth, trace, trace_state } = origin;
        let host = || self.redacted(destination.host.clone());
        let leaving = tracer.leaves(trace, trace_state, &method, host, request.headers_mut());
        let sent = match internal::service(&destination) {
            Some(Service::Host) => internal::answer(self, request, output, depth).await,
            Some(Service::App(name)) => internal::call(self, &name, request, 0, depth).await,
            None => match self.egress().may_ask(&destination) {
                Ok(()) => self.outbound().send(request, &destination, options).await,
                Err(refusal) => Err(SendError::Refused(refusal)),
            },
        };
        if let Some(leaving) = leaving {
            tracer.came_back(leaving, sent.as_ref().ok().map(http::Response::status));
        }
        sent.map_err(|error| match error {
            SendError::Http(error) => error,
            SendError::Refused(refusal) => {
                self.meter().outbound.refused.count();
                output.host_says(output.running(), &format!("refused a request to {destination}: {refusal}"));
                match refusal {
                    Refusal::Name { .. } => HttpError::HttpRequestDenied,
                    Refusal::Address { .. } => HttpError::DestinationIpProhibited,
                }
            }
        })
    }
}
