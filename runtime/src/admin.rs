//! The admin API: the only control path. The CLI is its client.

pub mod about;
pub mod access;
pub mod api;
pub mod blobs;
pub mod certificates;
pub mod dashboard;
pub mod deploy;
pub mod description;
pub mod error;
pub mod extract;
pub mod invocations;
pub mod invoke;
pub mod kv;
pub mod listener;
pub mod logs;
pub mod metrics;
pub mod queues;
pub mod role;
pub mod routes;
pub mod secrets;
pub mod statuses;
pub mod stores;
pub mod triggers;
pub mod upload;
pub mod usage;
pub mod view;
