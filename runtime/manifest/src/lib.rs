//! What an app says of itself, and the bounds and names of everything.
//!
//! All of it is pure: the host, the command line and the tests use it alike, and it compiles without wasmtime.

pub mod limits;
pub mod manifest;
pub mod names;
