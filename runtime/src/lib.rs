//! The wfn host.
//!
//! One request's way, in order:
//!
//! 1. [`ingress::listener`] accepts a connection and gives it to the event loop with the fewest;
//!    [`event_loop`] holds those loops, one per core.
//! 2. [`ingress::connection`] speaks HTTP/1.1 and HTTP/2 and cuts what is too slow.
//! 3. [`ingress::http`] checks a request, finds its app by [`app::route`] and strips the prefix; [`request::Invocation`] is what comes of it.
//! 4. [`dispatch`] is the one door: it takes a slot in the [`pool`] of the active revision.
//! 5. The pool's [`pool::ledger`] picks an instance, or adds one within maximum and [`budget::quota`], or the
//!    invocation waits in the queue.
//! 6. [`run`] runs it: an [`instance::worker::Worker`] calls the guest, or, for asynchronous guests,
//!    [`run::shared`] hands it to an [`instance::worker_p3::AsyncWorker`]. The guest reaches
//!    only what [`capability`] offers, within [`instance::limiter`] and [`instance::sandbox`].
//! 7. [`run::response`] carries the answer back; the slot is free when its body has ended; [`meter`]
//!    has counted it.
//!
//! Deploys come by another door: [`admin`] → [`app::registry`] → [`component`] → `pool.prepare` → switch.
//! [`persist`] keeps what survives. [`host`] builds all parts from [`config`] and ends them.

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

// Their own crate, so that what is pure compiles without wasmtime; here they are rooms like all others.
pub use wfn_manifest::{limits, manifest, names};
