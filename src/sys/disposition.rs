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

/// Stops this process group as the terminal does at Ctrl-Z, and returns when it goes on. The kernel does not stop a group that nobody
/// could let go on (signal(7), setpgid(2): orphaned): then this returns at once.
pub fn stop_as_a_job() -> io::Result<()> {
    // SAFETY: an all-zero `sigaction` is the default disposition with no handler; what was in force is put back. Signals that this process
    // sends to itself are delivered before the call returns, as it has one thread.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        let mut before: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGTSTP, &raw const default, &raw mut before) != 0 {
            return Err(io::Error::last_os_error());
        }
        let result = libc::kill(0, libc::SIGTSTP);
        let error = io::Error::last_os_error();
        libc::sigaction(libc::SIGTSTP, &raw const before, std::ptr::null_mut());
        if result == 0 { Ok(()) } else { Err(error) }
    }
}

fn set(signal: i32, disposition: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: neither disposition is a function that could be called.
    let result = unsafe { libc::signal(signal, disposition) };
    if result == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}
