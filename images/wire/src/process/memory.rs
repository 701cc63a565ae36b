//! The memory of a sidecar: its allocator, and when what was free goes back to the kernel.

/// Many short-lived allocations of a few sizes are what a proxy does between two system calls.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Returns memory that only the start or a reload needed: compiling the rules takes several times the memory that they occupy afterwards.
#[expect(unsafe_code, reason = "the allocator has no safe function for it")]
pub(crate) fn release_unused() {
    // SAFETY: it takes no pointer, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
