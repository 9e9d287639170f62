//! Apps: what a user deploys, its immutable revisions, and the registry that switches between them.

pub mod error;
pub mod readiness;
pub mod registry;
pub mod revision;
pub mod route;
pub mod running;
pub mod sampler;
pub mod secret_store;
pub mod share;
pub mod store;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::app::route::Routes;
use crate::app::running::App;

/// The current routes, read without a lock.
pub type LiveRoutes = ArcSwap<Routes<Arc<App>>>;
