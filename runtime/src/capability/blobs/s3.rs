//! Reaches S3, or a service with the same API: the library makes and signs the requests, the host's own HTTP client
//! sends them.

use std::error::Error as StdError;

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Error as ClientError;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, RetryConfig};
use tokio::time::timeout;

use crate::{limits, tls};

/// Opens the bucket as the environment variables `AWS_…` say.
pub fn open(bucket: &str) -> object_store::Result<AmazonS3> {
    let retry = RetryConfig {
        max_retries: limits::BLOB_S3_RETRIES,
        retry_timeout: limits::BLOB_S3_RETRY_TIMEOUT,
        ..RetryConfig::default()
    };
    AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_http_connector(Connector)
        .build()
}

/// Makes the HTTP client.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(tls::http_client())))
    }
}

/// Sends requests.
#[derive(Debug)]
struct Service(tls::HttpClient<HttpRequestBody>);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answered = timeout(limits::BLOB_S3_ANSWER_TIMEOUT, self.0.request(request)).await;
        let response = answered
            .map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?
            .map_err(|error| HttpError::new(kind(&error), error))?;
        let broken = |error| HttpError::new(HttpErrorKind::Interrupted, error);
        Ok(response.map(|body| HttpResponseBody::new(body.map_err(broken))))
    }
}

/// The kind of the error, by which the library knows what may be repeated.
fn kind(error: &ClientError) -> HttpErrorKind {
    if error.is_connect() {
        return HttpErrorKind::Connect;
    }
    let cause = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>());
    match cause.is_some_and(|cause| cause.is_closed() || cause.is_incomplete_message()) {
        true => HttpErrorKind::Request,
        false => HttpErrorKind::Unknown,
    }
}
