//! Apps: what a user deploys, its immutable revisions, and the registry that switches between them.

pub mod bundle;
pub mod error;
pub mod readiness;
pub mod registry;
pub mod revision;
pub mod running;
pub mod sampler;
pub mod secret_store;
pub mod share;
pub mod store;
