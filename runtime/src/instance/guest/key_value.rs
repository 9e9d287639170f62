//! `wasi:keyvalue` for guests: each call checks the grant again, because a handle may outlive it.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use crate::capability::Capabilities;
use crate::capability::key_value::error::KeyValueError;
use crate::capability::key_value::{BufferRoom, Store, bytes_of};
use crate::capability::request::{Condition, Version};
use crate::capability::stores::AccessError;
use crate::instance::guest::{Guest, Hooks};
use crate::limits;
use crate::meter::output::GuestOutput;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/wasi-keyvalue.wit",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::instance::guest::key_value::Bucket,
            "wasi:keyvalue/atomics.cas": crate::instance::guest::key_value::Cas,
        },
        trappable_error_type: {
            "wasi:keyvalue/store.error" => crate::capability::key_value::error::KeyValueError,
        },
    });
}

use bindings::wasi::keyvalue::{atomics, batch, store};

/// A store as a guest has opened it.
pub struct Bucket {
    label: String,
}

/// A key, in the version that the guest read last. Without its value, because a guest may hold thousands of these.
pub struct Cas {
    label: String,
    key: String,
    version: Option<Version>,
}

/// What the calls of one guest need.
pub struct KeyValueView<'a> {
    /// Its handles.
    pub table: &'a mut ResourceTable,
    /// What it may use.
    pub capabilities: &'a Capabilities,
    /// Where refusals are logged.
    pub output: &'a GuestOutput,
}

struct HasKeyValue;

impl HasData for HasKeyValue {
    type Data<'a> = KeyValueView<'a>;
}

/// Adds the interfaces to a linker.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasKeyValue>(linker, Guest::key_value)?;
    atomics::add_to_linker::<_, HasKeyValue>(linker, Guest::key_value)?;
    batch::add_to_linker::<_, HasKeyValue>(linker, Guest::key_value)
}

impl Guest {
    /// Returns what calls to key-value stores need.
    pub fn key_value(&mut self) -> KeyValueView<'_> {
        let Hooks { capabilities, output, .. } = &self.hooks;
        KeyValueView { table: &mut self.table, capabilities, output }
    }
}

impl KeyValueView<'_> {
    fn open(&self, label: &str) -> Result<Store, KeyValueError> {
        self.capabilities.store(label)
    }

    fn bucket(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<Store, KeyValueError> {
        // An invalid handle cannot come from a guest: the library checks handles.
        let label = self.table.get(bucket).map(|bucket| bucket.label.as_str()).unwrap_or_default();
        self.open(label)
    }

    fn room(&self, bytes: usize) -> Result<BufferRoom, KeyValueError> {
        self.capabilities.key_value().try_room(bytes)
    }

    /// Returns the error as the guest gets it. Logs what the developer or operator has to know.
    fn told(&self, error: KeyValueError) -> store::Error {
        self.capabilities.report(&error, self.output);
        match error {
            KeyValueError::Access(AccessError::NoSuch(..)) => store::Error::NoSuchStore,
            KeyValueError::Access(AccessError::Refused(_)) => store::Error::AccessDenied,
            other => store::Error::Other(other.to_string()),
        }
    }
}

impl store::Host for KeyValueView<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, KeyValueError> {
        KeyValueView::open(self, &identifier)?;
        self.table.push(Bucket { label: identifier }).map_err(|_| KeyValueError::TooManyHandles)
    }

    fn convert_error(&mut self, error: KeyValueError) -> wasmtime::Result<store::Error> {
        Ok(self.told(error))
    }
}

impl store::HostBucket for KeyValueView<'_> {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Option<Vec<u8>>, KeyValueError> {
        Ok(self.bucket(&bucket)?.get(&key).await?.map(|entry| entry.value))
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), KeyValueError> {
        let store = self.bucket(&bucket)?;
        let _room = self.room(key.len() + value.len())?;
        store.put(&key, value, Condition::Any).await.map(drop)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), KeyValueError> {
        self.bucket(&bucket)?.delete(&key, Condition::Any).await.map(drop)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, KeyValueError> {
        Ok(self.bucket(&bucket)?.version(&key).await?.is_some())
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Result<store::KeyResponse, KeyValueError> {
        let after = cursor.unwrap_or_default();
        let page = self.bucket(&bucket)?.list("", &after, limits::KEY_VALUE_PAGE_MAX).await?;
        Ok(store::KeyResponse { keys: page.keys, cursor: page.next })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for KeyValueView<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<i64, KeyValueError> {
        self.bucket(&bucket)?.increment(&key, delta).await
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let cas = self.table.delete(cas)?;
        Ok(match swap(self.capabilities, &cas, value).await {
            Ok(Swapped::Yes) => Ok(()),
            Ok(Swapped::No(version)) => {
                Err(atomics::CasError::CasFailed(self.table.push(Cas { version, ..cas })?))
            }
            Err(error) => Err(atomics::CasError::StoreError(self.told(error))),
        })
    }
}

enum Swapped {
    Yes,
    /// The key has this version now.
    No(Option<Version>),
}

async fn swap(capabilities: &Capabilities, cas: &Cas, value: Vec<u8>) -> Result<Swapped, KeyValueError> {
    let store = capabilities.store(&cas.label)?;
    let _room = capabilities.key_value().try_room(cas.key.len() + value.len())?;
    let condition = cas.version.map_or(Condition::Absent, Condition::At);
    match store.put(&cas.key, value, condition).await {
        Ok(_) => Ok(Swapped::Yes),
        Err(KeyValueError::Changed) => Ok(Swapped::No(store.version(&cas.key).await?)),
        Err(error) => Err(error),
    }
}

impl atomics::HostCas for KeyValueView<'_> {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Resource<Cas>, KeyValueError> {
        let version = self.bucket(&bucket)?.version(&key).await?;
        let label = self.table.get(&bucket).map(|bucket| bucket.label.clone()).unwrap_or_default();
        self.table.push(Cas { label, key, version }).map_err(|_| KeyValueError::TooManyHandles)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, KeyValueError> {
        let (label, key) = match self.table.get(&cas) {
            Ok(cas) => (cas.label.clone(), cas.key.clone()),
            Err(_) => (String::new(), String::new()),
        };
        let entry = self.open(&label)?.get(&key).await?;
        // The next swap replaces this version.
        if let Ok(cas) = self.table.get_mut(&cas) {
            cas.version = entry.as_ref().map(|entry| entry.version);
        }
        Ok(entry.map(|entry| entry.value))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for KeyValueView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, KeyValueError> {
        let entries = self.bucket(&bucket)?.get_many(keys.clone()).await?;
        let with_key = |(key, entry): (String, Option<_>)| {
            entry.map(|entry: crate::capability::key_value::table::Entry| (key, entry.value))
        };
        Ok(keys.into_iter().zip(entries).map(with_key).collect())
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Result<(), KeyValueError> {
        let store = self.bucket(&bucket)?;
        let _room = self.room(bytes_of(&entries))?;
        store.set_many(entries).await
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<(), KeyValueError> {
        self.bucket(&bucket)?.delete_many(keys).await
    }
}
