//! The way in over HTTP: listeners, connections with their time limits, routes, requests.

pub mod answer;
pub mod body;
pub mod connection;
pub mod health;
pub mod http;
pub mod listener;
pub mod route;
