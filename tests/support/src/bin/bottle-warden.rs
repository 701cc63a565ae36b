//! `bottle-warden plain|terminal PROGRAM [ARGUMENT…]`: see `bottle_test_support::warden`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, exit};
use std::sync::OnceLock;
use std::thread;

use bottle_test_support::process::snapshot;
use bottle_test_support::warden::{REPORTS, parse};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

/// ioctl_tty(2).
mod call {
    nix::ioctl_write_int_bad!(set_controlling_terminal, nix::libc::TIOCSCTTY);
}

/// How the run ended, once it has: the wait status of its first process.
static ENDING: OnceLock<WaitStatus> = OnceLock::new();

fn main() -> ExitCode {
    let Some((terminal, program, arguments)) = parse(std::env::args_os().skip(1)) else { return ExitCode::from(2) };
    let Some(mut reports) = reports() else { return ExitCode::from(2) };
    let mut command = Command::new(program);
    command.args(arguments).env_remove(REPORTS);
    // SAFETY: these are plain system calls, which are async-signal-safe.
    unsafe { command.pre_exec(move || begin(terminal)) };
    // An interrupt at the developer's terminal ends the test, and the test's end ends this; not both at once.
    let begun = setsid().and_then(|_| prctl::set_child_subreaper(true)).map_err(io::Error::from).and_then(|()| command.spawn());
    let child = match begun {
        Ok(child) => child.id(),
        Err(error) => {
            let _ = writeln!(reports, "failed {error}");
            return ExitCode::FAILURE;
        }
    };
    drop(command);
    let orders = reports.try_clone();
    if leave_streams().is_err() || writeln!(reports, "started {child} {}", Pid::this()).is_err() {
        end_all();
    }
    thread::spawn(move || {
        // Nothing is ever sent: this returns when the test has ended.
        let _ = orders.map(|mut orders| orders.read(&mut [0]));
        end_all();
    });
    let child = Pid::from_raw(i32::try_from(child).unwrap_or(i32::MAX));
    loop {
        let status = waitpid(None, None);
        if let Ok(status) = status
            && status.pid() == Some(child)
        {
            let _ = ENDING.set(status);
        }
        let _ = match status {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => writeln!(reports, "code {code}"),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => writeln!(reports, "signal {}", signal as i32),
            // No child is left, and a process without children gets no orphans.
            Err(Errno::ECHILD) => {
                thread::park();
                Ok(())
            }
            _ => Ok(()),
        };
    }
}

/// The descriptor that the test listens on, not to be inherited further.
fn reports() -> Option<UnixStream> {
    let fd = std::env::var(REPORTS).ok()?.parse().ok()?;
    // SAFETY: the test hands this descriptor over for this use alone.
    let stream = unsafe { UnixStream::from_raw_fd(fd) };
    fcntl(&stream, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    Some(stream)
}

/// The run's own surroundings: whatever the test was started with, a run begins with signals at their defaults, the usual mask,
/// no descriptor but its three streams, and a session of its own.
fn begin(terminal: bool) -> io::Result<()> {
    // 32 and 33 are the C library's own, which it does not let anybody set (nptl(7)).
    for signal in (1..=64).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP | 32 | 33)) {
        // SAFETY: the default disposition runs no code.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    umask(Mode::from_bits_truncate(0o022));
    // SAFETY: nothing is closed before the exec, and nobody uses these descriptors after it.
    Errno::result(unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) })?;
    setsid()?;
    if terminal {
        // SAFETY: a plain system call on our own standard input.
        unsafe { call::set_controlling_terminal(0, 0) }?;
    }
    Ok(())
}

/// A reader of the run's output must see its end when the run's last process has gone, and not wait for the warden.
fn leave_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

/// Kills its children until it has none: what was below them falls to it. Then ends as the run has ended.
fn end_all() -> ! {
    let this = Pid::this().as_raw();
    loop {
        let processes = snapshot("");
        let mut children = processes.iter().filter(|process| process.parent == this && process.state != 'Z').peekable();
        if children.peek().is_none() {
            end_as_the_run();
        }
        for child in children {
            let _ = kill(Pid::from_raw(child.pid), Signal::SIGKILL);
        }
        thread::yield_now();
    }
}

fn end_as_the_run() -> ! {
    match ENDING.get() {
        Some(WaitStatus::Exited(_, code)) => exit(*code),
        Some(WaitStatus::Signaled(_, signal, _)) => {
            // The run has left its core already, where it may.
            let _ = prctl::set_dumpable(false);
            // SAFETY: the default disposition runs no code.
            unsafe { libc::signal(*signal as i32, libc::SIG_DFL) };
            let _ = SigSet::all().thread_unblock().and_then(|()| raise(*signal));
            exit(1)
        }
        // The test did not wait for it.
        _ => exit(1),
    }
}
