//! Makes a component of a core module that describes one: its compiler left a `component-type` section, but no linker made the
//! component. Runs in the compiling child.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use crate::text::plain;

/// Makes the component that `module` describes. Its imports of WASI preview 1 are translated by the adapter that belongs to this
/// wasmtime. The error is the message of the encoder and says what does not fit.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, String> {
    let encode = || {
        ComponentEncoder::default()
            .validate(true)
            .module(module)?
            .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
            .encode()
    };
    encode().map_err(|error| plain(&format!("{error:#}")))
}
