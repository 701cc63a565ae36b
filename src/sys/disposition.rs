//! What happens to a signal that nobody handles: `signal-hook` installs handlers and does not ask.

use std::io;

/// True when the signal is ignored, as after `nohup`.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: an all-zero `sigaction` is valid, and the kernel fills it; a null new action changes nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Ignores the signal.
pub fn ignore(signal: i32) -> io::Result<()> {
    set(signal, libc::SIG_IGN)
}

/// Sets the signal to its default.
pub fn set_default(signal: i32) -> io::Result<()> {
    set(signal, libc::SIG_DFL)
}

fn set(signal: i32, disposition: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: neither disposition is a function that could be called.
    let result = unsafe { libc::signal(signal, disposition) };
    if result == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}
