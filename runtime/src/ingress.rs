//! Serves functions over HTTP and HTTPS: listeners, connections with their time limits, routes, requests.

pub mod body;
pub mod connection;
pub mod functions;
pub mod handshake;
pub mod head;
pub mod health;
pub mod http;
pub mod listener;
pub mod malformed;
pub mod stream;
pub mod watch;
pub mod wire;
