//! What the kernel can do, asked in ways that change nothing but this process.

use std::io;

use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

/// Whether filters may answer with an error (seccomp(2), `SECCOMP_GET_ACTION_AVAIL`).
pub fn seccomp() -> io::Result<()> {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one number, which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The version of landlock's interface (landlock_create_ruleset(2), `LANDLOCK_CREATE_RULESET_VERSION`).
pub fn landlock_version() -> io::Result<i64> {
    // SAFETY: with this flag the kernel takes a null pointer and size zero, and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1) };
    if result >= 0 { Ok(result) } else { Err(io::Error::last_os_error()) }
}

/// Puts into effect what is permitted.
pub fn regain_capabilities() -> io::Result<()> {
    let permitted = capabilities(None)?.permitted;
    Ok(set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable: permitted })?)
}
