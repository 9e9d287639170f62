//! Shows the certificates of the host, and lets one be renewed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use crate::acme::Status;
use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::admin::extract::Path;
use crate::tls::certificates::Source;

/// `GET /v1/certificates`: those that are served, and the names that wait for one.
pub async fn list(State(api): State<Arc<Api>>) -> Json<Value> {
    let statuses = api.about.acme.as_ref().map(|acme| acme.statuses()).unwrap_or_default();
    let mut waiting: BTreeMap<String, Status> =
        statuses.into_iter().map(|status| (status.name.clone(), status)).collect();
    let mut shown = Vec::new();
    for (source, certificate) in api.about.certificates.all() {
        let is_of_acme = source == Source::Acme;
        // A certificate from an authority has one name.
        let status = certificate.names.first().filter(|_| is_of_acme).and_then(|name| waiting.remove(name));
        shown.push(json!({
            "names": certificate.names,
            "source": if is_of_acme { "acme" } else { "file" },
            "issuer": certificate.issuer,
            "not_before_s": certificate.not_before,
            "not_after_s": certificate.not_after,
            "next_order_s": status.as_ref().map(|status| status.next),
            "failures": status.as_ref().map_or(0, |status| status.failures),
            "error": status.and_then(|status| status.error),
        }));
    }
    shown.extend(waiting.into_values().map(|status| {
        json!({
            "names": [status.name],
            "source": "acme",
            "issuer": null,
            "not_before_s": null,
            "not_after_s": null,
            "next_order_s": status.next,
            "failures": status.failures,
            "error": status.error,
        })
    }));
    Json(json!({ "certificates": shown }))
}

/// `POST /v1/certificates/{name}/renew`: orders a new one at once.
pub async fn renew(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let is_ordered = api.about.acme.as_ref().is_some_and(|acme| acme.renew_now(&name.to_ascii_lowercase()));
    match is_ordered {
        true => Ok(Json(json!({ "name": name, "ordered": true }))),
        false => {
            let message =
                "no certificate for this name comes from an authority: 'wfn cert ls' shows which do";
            Err(ApiError::new(StatusCode::NOT_FOUND, "no-such-certificate", message))
        }
    }
}
