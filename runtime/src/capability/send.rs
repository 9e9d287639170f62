//! Sends a guest's own requests: to the host itself, to another app, or out.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody};

use crate::capability::Capabilities;
use crate::capability::internal::{self, Service};
use crate::capability::outbound::SendError;
use crate::manifest::egress::{Destination, EgressRefusal};
use crate::meter::output::GuestOutput;
use crate::request::Origin;

impl Capabilities {
    /// Sends a guest's request to its destination, if that is allowed. The app's log gets the reason of a refusal.
    pub async fn send(
        &self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        output: &GuestOutput,
        origin: Origin,
    ) -> Result<http::Response<WasiBody>, HttpError> {
        let destination = Destination::of(request.uri()).ok_or(HttpError::HttpRequestUriInvalid)?;
        if !request.body().is_end_stream() {
            request = request.map(|body| ReadOn { body, here: Handle::current() }.boxed_unsync());
        }
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
                output.host_log(output.running(), &format!("refused a request to {destination}: {refusal}"));
                match refusal {
                    EgressRefusal::Name { .. } => HttpError::HttpRequestDenied,
                    EgressRefusal::Address { .. } => HttpError::DestinationIpProhibited,
                }
            }
        })
    }
}

/// A request body that is read to its end even if nobody wants it: that of a GET, or one whose receiver answers early.
/// Otherwise the guest that writes it might get an error, although its request is answered.
struct ReadOn {
    body: WasiBody,
    /// The runtime for that, because it may be dropped outside of a task.
    here: Handle,
}

impl Drop for ReadOn {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            let mut body = std::mem::take(&mut self.body);
            // It ends with the guest at the latest.
            self.here.spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
        }
    }
}

impl Body for ReadOn {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
