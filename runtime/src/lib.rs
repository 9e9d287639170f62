//! The wfn host.
//!
//! The way of one request, in order:
//!
//! 1. [`ingress::listener`] accepts a connection and gives it to the event loop with the fewest;
//!    [`event_loop`] holds those loops, one per core.
//! 2. [`ingress::connection`] speaks HTTP/1.1 and HTTP/2 and cuts what is too slow.
//! 3. [`ingress::http`] checks a request, finds its app by [`app::route`] and strips the prefix; [`request::Invocation`] is what comes of it.
//! 4. [`dispatch`] takes a slot in the [`pool`] of the active revision. Every invocation passes here.
//! 5. The pool's [`pool::ledger`] picks an instance, or adds one within maximum and [`budget::quota`], or the
//!    invocation waits in the wait queue.
//! 6. [`run`] runs it: an [`instance::worker::Worker`] calls the guest, or, for asynchronous guests,
//!    [`run::shared`] hands it to an [`instance::worker_p3::AsyncWorker`]. The guest reaches
//!    only what [`capability`] offers, within [`instance::limiter`] and [`instance::sandbox`].
//! 7. [`run::response`] carries the answer back. The slot is free when the body of the answer has ended; [`meter`] has counted
//!    the invocation.
//!
//! A deploy takes another way: [`admin`] → [`app::registry`] → [`component`] → `pool.prepare` → switch.
//! [`persist`] holds the database and the files. [`host`] builds all parts from [`config`] and ends them.

pub mod acme;
pub mod admin;
pub mod app;
pub mod budget;
pub mod capability;
pub mod clock;
pub mod component;
pub mod config;
pub mod descriptors;
pub mod dispatch;
pub mod event_loop;
pub mod host;
pub mod ingress;
pub mod instance;
pub mod invocation;
pub mod limited;
pub mod media_type;
pub mod meter;
pub mod persist;
pub mod pool;
pub mod refusal;
pub mod request;
pub mod run;
pub mod short_queue;
pub mod text;
pub mod tls;
pub mod trace;
pub mod trigger;

// These are a crate of their own, so that pure code compiles without wasmtime. Here they are modules like all others.
pub use wfn_manifest::{limits, manifest, names};
