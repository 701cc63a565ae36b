//! The memory of a sidecar: its allocator, and when what was free goes back to the kernel.

/// Many short-lived allocations of a few sizes are what a proxy does between two system calls.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives back what only a start or a new table needed: rules are compiled in many times the memory that they are kept in.
pub(crate) fn give_back() {
    // SAFETY: it takes no pointer, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
