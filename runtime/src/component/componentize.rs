//! Core modules that say what component they are: their compiler left a `component-type` section, and a linker that
//! would have made the component was not at hand. It is made here, in the compiling child.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use crate::text::plain;

/// Makes the component that `module` describes. What it imports from WASI preview 1 is translated by the adapter
/// that belongs to this wasmtime. The error says what does not fit, in the words of the encoder.
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
