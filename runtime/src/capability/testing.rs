//! Capabilities that reach nothing, for tests of the layers above.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;
use wasmtime_wasi_http::WasiBody;

use crate::capability::blobs::Blobs;
use crate::capability::blobs::objects::Location;
use crate::capability::bundle::Bundles;
use crate::capability::neighbours::Neighbours;
use crate::capability::queues::Queues;
use crate::capability::secrets::{SecretKey, Secrets};
use crate::capability::{Capabilities, CapabilityHost, Machine, Stores};
use crate::descriptors::Shares;
use crate::manifest::Manifest;
use crate::manifest::grants::SharedStores;
use crate::meter::Meter;
use crate::names::AppName;
use crate::persist::db::Db;
use crate::request::GuestRequest;
use crate::trace::Tracer;

struct Nobody;

#[async_trait]
impl Neighbours for Nobody {
    fn share_of(&self, _owner: &AppName) -> Option<SharedStores> {
        None
    }

    async fn call(
        &self,
        _app: &str,
        _caller: &AppName,
        _depth: u32,
        _request: GuestRequest,
    ) -> Option<http::Response<WasiBody>> {
        None
    }
}

/// A host in `folder` whose apps have no neighbours.
pub async fn host(folder: &Path) -> Arc<CapabilityHost> {
    let secret_key = SecretKey::open(folder).unwrap();
    let bundles = Bundles::open(folder).unwrap();
    let db = Arc::new(Db::open(&folder.join("wfn.db")).unwrap());
    let queues = Queues::new(db.clone());
    let blobs = Blobs::open(&db, &Location::default(), folder, queues.clone()).await.unwrap();
    let stores = Stores { db, blobs, queues };
    CapabilityHost::new(
        Nobody,
        stores,
        Arc::new(secret_key),
        bundles,
        String::new(),
        Tracer::default(),
        Machine { shares: Shares::of(0), compute: Handle::current() },
    )
}

/// The capabilities of an app whose manifest grants nothing.
pub fn nothing(host: &Arc<CapabilityHost>) -> Arc<Capabilities> {
    let manifest = Manifest::new(AppName::new("simulated").unwrap());
    Capabilities::new(&manifest, &Secrets::new(), host, &Arc::<Meter>::default()).unwrap()
}
