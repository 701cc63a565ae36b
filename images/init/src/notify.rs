//! System calls that wait for another process to answer them (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A call that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Its name in answers.
    pub(crate) id: u64,
    /// The thread that made it, in this pid namespace.
    pub(crate) thread: i32,
    /// The system call.
    pub(crate) number: libc::c_long,
    /// Its arguments.
    pub(crate) arguments: [u64; 6],
}

/// From now on, these calls of this process and of all that it starts wait for an answer at the descriptor.
/// True with it if no signal but one that kills interrupts a call that is being answered.
pub(crate) fn listen(calls: &[libc::c_long]) -> io::Result<(OwnedFd, bool)> {
    let step = |code: u32, jt: u8, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf: 0, k };
    // Another architecture's numbers do not come here: the filters before this one end such a process.
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)]; // offset of `nr` in seccomp_data
    for (index, call) in calls.iter().enumerate() {
        let ahead = u8::try_from(calls.len() - index).map_err(io::Error::other)?;
        program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, ahead, u32::try_from(*call).map_err(io::Error::other)?));
    }
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_USER_NOTIF));
    // A signal that does not kill must not interrupt a call that is being answered: it would be made twice. Linux 5.19.
    let patient = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    match install(&mut program, patient) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            install(&mut program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER).map(|listener| (listener, false))
        }
        installed => installed.map(|listener| (listener, true)),
    }
}

fn install(program: &mut [libc::sock_filter], flags: libc::c_ulong) -> io::Result<OwnedFd> {
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the program lives until the call returns, and its length is the true one.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    own(fd)
}

/// Takes the next call; `None` if its thread has ended meanwhile.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Call>> {
    // SAFETY: the kernel wants zeroes, which are valid for this plain data.
    let mut waiting: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes one structure of this type.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut waiting) };
    if result != 0 {
        let error = io::Error::last_os_error();
        return if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) { Ok(None) } else { Err(error) };
    }
    Ok(Some(Call { id: waiting.id, thread: waiting.pid.cast_signed(), number: waiting.data.nr.into(), arguments: waiting.data.args }))
}

/// True while the thread waits. What was learnt of it by its number before is then true of it.
pub(crate) fn still_waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the request reads one number.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) == 0 }
}

/// Answers with success or an error number. Who ended meanwhile needs no answer.
pub(crate) fn answer(listener: BorrowedFd<'_>, id: u64, result: Result<(), i32>) {
    send(listener, libc::seccomp_notif_resp { id, val: 0, error: result.err().map_or(0, |errno| -errno), flags: 0 });
}

/// The kernel executes the call after all, with what its arguments are then.
pub(crate) fn proceed(listener: BorrowedFd<'_>, id: u64) {
    let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(0);
    send(listener, libc::seccomp_notif_resp { id, val: 0, error: 0, flags });
}

fn send(listener: BorrowedFd<'_>, response: libc::seccomp_notif_resp) {
    // SAFETY: the request reads one structure of this type.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) };
}

/// The file that a unix socket is bound to. Takes CAP_NET_ADMIN over the network namespace of the socket.
pub(crate) fn bound_file(socket: impl AsFd) -> io::Result<OwnedFd> {
    // SIOCPROTOPRIVATE of this family (SIOCUNIXFILE).
    const BOUND_FILE: libc::Ioctl = 0x89E0;
    // SAFETY: the request takes nothing and makes a descriptor.
    let fd = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), BOUND_FILE, 0) };
    own(fd.into())
}

/// connect(2) with an address as it is in memory.
pub(crate) fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), i32> {
    let length = libc::socklen_t::try_from(address.len()).unwrap_or(0);
    // SAFETY: the kernel reads that many bytes and copies them before it looks at them, so that any alignment will do.
    let result = unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
}

fn own(fd: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made it for this process.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
