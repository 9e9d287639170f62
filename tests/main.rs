//! The promises of wfn, tested through its public door: the real binary, HTTP, the command line and real
//! guests. One file per promise.

#![expect(clippy::unwrap_used, reason = "in a test an error is the failure it reports")]

mod harness;
mod upstream;

mod acme;
mod admin;
mod admin_fuzz;
mod async_guests;
mod bad_input;
mod batches;
mod bench;
mod blob_triggers;
mod blobs;
mod blobs_s3;
mod command_http;
mod commands;
mod crash;
mod damage;
mod dashboard;
mod deploy;
mod dev_loop;
mod dynamic;
mod examples;
mod faults;
mod features;
mod files;
mod floors;
mod full_disk;
mod hoards;
mod hostile_uploads;
mod http;
mod http2;
mod http_fuzz;
mod http_proxies;
mod http_table;
mod https;
mod identity;
mod internal;
mod key_value;
mod languages;
mod memory;
mod observe;
mod outbound;
mod queues;
mod scale;
mod scratch;
mod secrets;
mod serve;
mod sessions;
mod shell;
mod snapshots;
mod split;
mod starts;
mod tidy;
mod timers;
mod traces;
mod usage;
