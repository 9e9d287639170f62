//! What `std` and a libc would have brought: an allocator, a panic handler, memory for what the host hands in.

extern crate alloc;

use alloc::alloc::{Layout, alloc, handle_alloc_error, realloc};

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// The component ABI's function by which the host takes memory in the guest, for example for an error's text.
#[expect(unsafe_code, reason = "the ABI calls it by this name, with raw memory")]
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_bytes: usize, align: usize, new_bytes: usize) -> *mut u8 {
    if new_bytes == 0 {
        // By the ABI a pointer to nothing needs only its alignment.
        return core::ptr::without_provenance_mut(align);
    }
    // SAFETY: the ABI hands in a power of two as `align`, and either no old memory (0 bytes) or memory that
    // this function gave out with this alignment and size.
    let (layout, memory) = unsafe {
        if old_bytes == 0 {
            let layout = Layout::from_size_align_unchecked(new_bytes, align);
            (layout, alloc(layout))
        } else {
            let layout = Layout::from_size_align_unchecked(old_bytes, align);
            (layout, realloc(old, layout, new_bytes))
        }
    };
    if memory.is_null() {
        handle_alloc_error(layout);
    }
    memory
}
