//! The thread functions that std links against and Debian's wasi-libc is too old to have; there are no threads.
//!
//! Compiled for wasm32-wasip2 by `src/sysroot.rs`; weak, so a libc that has them wins.

#![no_std]
#![no_builtins]
#![feature(linkage)]

use core::ffi::{c_int, c_void};

/// "Not supported", as WASI numbers errors.
const ENOTSUP: c_int = 58;

#[unsafe(no_mangle)]
#[linkage = "weak"]
pub extern "C" fn pthread_attr_init(_attributes: *mut c_void) -> c_int {
    0
}

#[unsafe(no_mangle)]
#[linkage = "weak"]
pub extern "C" fn pthread_attr_setstacksize(_attributes: *mut c_void, _bytes: usize) -> c_int {
    0
}

#[unsafe(no_mangle)]
#[linkage = "weak"]
pub extern "C" fn pthread_attr_destroy(_attributes: *mut c_void) -> c_int {
    0
}

#[unsafe(no_mangle)]
#[linkage = "weak"]
pub extern "C" fn pthread_create(
    _thread: *mut c_void,
    _attributes: *const c_void,
    _start: *mut c_void,
    _argument: *mut c_void,
) -> c_int {
    ENOTSUP
}

#[unsafe(no_mangle)]
#[linkage = "weak"]
pub extern "C" fn pthread_detach(_thread: *mut c_void) -> c_int {
    0
}

#[unsafe(no_mangle)]
#[linkage = "weak"]
pub extern "C" fn pthread_join(_thread: *mut c_void, _result: *mut *mut c_void) -> c_int {
    ENOTSUP
}
