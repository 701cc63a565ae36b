//! Commands that must not outlive the supervisor.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// The command is killed when this process ends. There is one thread, whose end is the process' own.
pub fn dies_with_us(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            bottle_init::sys::die_with_parent()?;
            // The parent may have ended before the line above.
            if rustix::process::getppid() != Some(parent) {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
}

/// Owns a descriptor that the kernel has just returned.
pub fn own(fd: std::os::fd::RawFd) -> std::os::fd::OwnedFd {
    // SAFETY: the caller got it from a call that makes new descriptors, and has told nobody else.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
}
