//! Limits how many files a guest may have open at a time. Each is a file descriptor of the host.
//!
//! The library opens as many as a guest asks for. Here its functions that open and close files are replaced by functions that ask
//! a [`FileLease`] first, for programs of preview 1 and for components. A guest that may open no more gets an error of the
//! interface.

use wasmtime::component::{Accessor, Linker, Resource, ResourceTable};
use wasmtime::{AsContextMut, Caller, Extern};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as p1;
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi::p3::bindings::filesystem::types as p3;
use wiggle::GuestMemory;

use crate::descriptors::FileLease;
use crate::instance::guest::Guest;
use crate::limits;

/// Counts the entries of a guest's table that may hold a descriptor.
fn open_files(table: &mut ResourceTable) -> u32 {
    let holds = |entry: &&mut (dyn std::any::Any + Send)| {
        entry.is::<Descriptor>() || entry.is::<DynInputStream>() || entry.is::<DynOutputStream>()
    };
    u32::try_from(table.iter_mut().filter(holds).count()).unwrap_or(u32::MAX)
}

/// The module that programs of preview 1 import.
const P1: &str = "wasi_snapshot_preview1";

/// Store data of a program of preview 1.
pub trait OpensFiles: Send + 'static {
    /// Its WASI, for the library's functions.
    fn wasi(&mut self) -> &mut wasmtime_wasi::p1::WasiP1Ctx;

    /// Returns its lease of descriptors, and how many it has open.
    fn files(&mut self) -> (&mut FileLease, &mut u32);
}

/// Replaces a program's functions that open and close files.
pub fn add_to_p1_linker<T: OpensFiles>(linker: &mut wasmtime::Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    type OpenArguments = (i32, i32, i32, i32, i32, i64, i64, i32, i32);
    linker.func_wrap_async(
        P1,
        "path_open",
        |mut caller: Caller<'_, T>,
         (fd, look, path, length, open, base, inherited, flags, to): OpenArguments| {
            Box::new(async move {
                let (lease, opened) = caller.data_mut().files();
                if !lease.covers(*opened + 1) {
                    return Ok(i32::from(wasmtime_wasi::p1::types::Errno::Mfile as u16));
                }
                let (mut memory, guest) = memory_and_data(&mut caller)?;
                let wasi = guest.wasi();
                let result = p1::path_open(
                    wasi,
                    &mut memory,
                    fd,
                    look,
                    path,
                    length,
                    open,
                    base,
                    inherited,
                    flags,
                    to,
                );
                let result = result.await?;
                *guest.files().1 += u32::from(result == 0);
                Ok(result)
            })
        },
    )?;
    linker.func_wrap_async(P1, "fd_close", |mut caller: Caller<'_, T>, (fd,): (i32,)| {
        Box::new(async move {
            let (mut memory, guest) = memory_and_data(&mut caller)?;
            let result = p1::fd_close(guest.wasi(), &mut memory, fd).await?;
            note_closed(guest, result);
            Ok(result)
        })
    })?;
    linker.func_wrap_async(P1, "fd_renumber", |mut caller: Caller<'_, T>, (from, to): (i32, i32)| {
        Box::new(async move {
            let (mut memory, guest) = memory_and_data(&mut caller)?;
            let result = p1::fd_renumber(guest.wasi(), &mut memory, from, to).await?;
            if from != to {
                note_closed(guest, result);
            }
            Ok(result)
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

fn note_closed(guest: &mut impl OpensFiles, result: i32) {
    let (_, opened) = guest.files();
    *opened = opened.saturating_sub(u32::from(result == 0));
}

fn memory_and_data<'a, T: OpensFiles>(
    caller: &'a mut Caller<'_, T>,
) -> wasmtime::Result<(GuestMemory<'a>, &'a mut T)> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        wasmtime::bail!("the program exports no memory");
    };
    let (bytes, data) = memory.data_and_store_mut(caller);
    // The library does this before each of its functions: it sets how many bytes the call may copy out of the guest.
    p1::WasiSnapshotPreview1::set_hostcall_fuel(data.wasi(), limits::HOSTCALL_BYTES_MAX);
    Ok((GuestMemory::Unshared(bytes), data))
}

/// Replaces the functions of WASI 0.2 that open files.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Arguments = (Resource<Descriptor>, p2::PathFlags, String, p2::OpenFlags, p2::DescriptorFlags);
    linker.allow_shadowing(true);
    linker.instance("wasi:filesystem/types@0.2.12")?.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store, (folder, look, path, open, flags): Arguments| {
            Box::new(async move {
                let guest: &mut Guest = store.data_mut();
                if !guest.may_open_file() {
                    return Ok((Err(p2::ErrorCode::Quota),));
                }
                let mut files = guest.filesystem();
                let opened = p2::HostDescriptor::open_at(&mut files, folder, look, path, open, flags);
                Ok((match opened.await {
                    Ok(file) => Ok(file),
                    Err(error) => Err(error.downcast()?),
                },))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The same for WASI 0.3.
pub fn add_to_async_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Arguments = (Resource<Descriptor>, p3::PathFlags, String, p3::OpenFlags, p3::DescriptorFlags);
    linker.allow_shadowing(true);
    linker.instance("wasi:filesystem/types@0.3.0")?.func_wrap_concurrent(
        "[method]descriptor.open-at",
        |accessor: &Accessor<Guest>, (folder, look, path, open, flags): Arguments| {
            Box::pin(async move {
                let may_open = accessor.with(|mut store| store.as_context_mut().data_mut().may_open_file());
                if !may_open {
                    return Ok((Err(p3::ErrorCode::Quota),));
                }
                let files = accessor.with_getter::<WasiFilesystem>(Guest::filesystem);
                let opened = <WasiFilesystem as p3::HostDescriptorWithStore<Guest>>::open_at(
                    &files, folder, look, path, open, flags,
                );
                Ok((match opened.await {
                    Ok(file) => Ok(file),
                    Err(error) => Err(error.downcast()?),
                },))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Guest {
    /// Whether the guest may open one more file.
    fn may_open_file(&mut self) -> bool {
        let (table, lease) = self.table_and_files();
        lease.covers(open_files(table) + 1)
    }
}
