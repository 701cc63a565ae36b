//! Commands that must not outlive the supervisor.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// The command is killed when this process ends, and gets no descriptor but its standard ones. There is one thread, whose end is the
/// process' own.
pub fn dies_with_us(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec the closure makes three system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            bottle_init::sys::die_with_parent()?;
            // The parent may have ended before the line above.
            if rustix::process::getppid() != Some(parent) {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            // Whoever started bottle may have left it more than it needs.
            bottle_init::sys::close_from_on_exec(3)
        });
    }
}

/// The command leads a session of its own, which has no terminal.
pub fn without_terminal(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into));
    }
    dies_with_us(command);
}

/// Owns a descriptor that the kernel has just returned.
pub fn own(fd: std::os::fd::RawFd) -> std::os::fd::OwnedFd {
    // SAFETY: the caller got it from a call that makes new descriptors, and has told nobody else.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};

    use super::dies_with_us;

    // covers: I03
    #[test]
    fn a_command_gets_no_descriptor_but_its_standard_ones() {
        // Without close-on-exec, as whoever started bottle may have left it.
        let inherited = rustix::io::dup(std::io::stderr().as_fd()).unwrap();
        let mut command = Command::new("ls");
        command.arg("/proc/self/fd").stdin(Stdio::null());
        dies_with_us(&mut command);
        let output = command.output().unwrap();
        drop(inherited);
        // The last is the directory that it reads.
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n2\n3\n");
    }
}
