//! A bound for one system call that may block: a timer's signal interrupts it.

use std::io;
use std::time::Duration;

/// While this lives, a call of this thread that blocks returns soon, with `EINTR` or with what it has done so far. The timer repeats, so
/// that a signal that comes just before the call does no harm.
#[derive(Debug)]
pub struct Interrupt {
    timer: libc::timer_t,
}

/// The timer's signal. SIGALRM belongs to whoever started us: an alarm survives `execve`.
pub fn signal() -> libc::c_int {
    libc::SIGRTMAX()
}

extern "C" fn nothing(_: libc::c_int) {}

/// Handles the signal, and blocks it: it interrupts nothing that is not bounded, whoever sends it.
pub fn prepare() -> io::Result<()> {
    // SAFETY: an all-zero `sigaction` is valid, and the handler does nothing. Without SA_RESTART the interrupted call returns.
    let failed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
        libc::sigaction(signal(), &raw const action, std::ptr::null_mut()) != 0
    };
    if failed { Err(io::Error::last_os_error()) } else { mask(libc::SIG_BLOCK) }
}

fn mask(how: libc::c_int) -> io::Result<()> {
    // SAFETY: `sigset_t` is plain data that sigemptyset fills.
    let error = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal());
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

impl Interrupt {
    /// Interrupts whatever blocks after `interval`, and again after each further one.
    pub fn every(interval: Duration) -> io::Result<Self> {
        prepare()?;
        let nanoseconds = libc::c_long::from(interval.subsec_nanos().cast_signed());
        let time = libc::timespec { tv_sec: interval.as_secs().cast_signed(), tv_nsec: nanoseconds };
        let times = libc::itimerspec { it_interval: time, it_value: time };
        // SAFETY: all-zero structures of these types are valid, and the kernel reads and fills them during the calls only.
        let guard = unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal();
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer: libc::timer_t = std::mem::zeroed();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) != 0 {
                return Err(io::Error::last_os_error());
            }
            let guard = Self { timer };
            if libc::timer_settime(timer, 0, &raw const times, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            guard
        };
        mask(libc::SIG_UNBLOCK)?;
        Ok(guard)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        // A signal that is pending was delivered on the return from the last call, or interrupts the next bounded one too early, once.
        let _ = mask(libc::SIG_BLOCK);
        // SAFETY: the timer is this guard's own.
        unsafe { libc::timer_delete(self.timer) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_blocks_is_interrupted_and_one_that_does_not_is_whole() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let full = vec![0; 1 << 20];
        let written = {
            let _bound = Interrupt::every(Duration::from_millis(5)).unwrap();
            rustix::io::write(&writer, &full).unwrap()
        };
        assert!(written > 0 && written < full.len(), "{written}");
        {
            let _bound = Interrupt::every(Duration::from_millis(5)).unwrap();
            assert_eq!(rustix::io::write(&writer, b"x"), Err(rustix::io::Errno::INTR));
        }
        let mut taken = vec![0; written];
        assert_eq!(rustix::io::read(&reader, &mut taken), Ok(written));
        let _bound = Interrupt::every(Duration::from_millis(5)).unwrap();
        assert_eq!(rustix::io::write(&writer, b"x"), Ok(1));
    }
}
