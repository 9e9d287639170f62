//! The load generator of `wfn bench`: sends one request again and again over HTTP/1.1, and measures the answers.
//!
//! In the closed loop each client sends its next request as soon as the last was answered, so a slow server gets fewer
//! requests. In the open loop requests are due at a constant rate, whatever the server does. Latency then counts from
//! the moment when a request was due, so a server that stalls gets a high latency for all requests that were due
//! meanwhile.

mod chunks;
mod client;
mod course;
mod plan;
mod report;
mod request;
mod response;
mod run;
mod schedule;
mod tally;

pub use plan::{Mode, Plan, Target};
pub use report::{Errors, Latency, Report, Snapshot};
pub use run::run;
