//! System calls that no crate wraps safely: the unsafe code of the inside half.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Attributes of a mount (mount_setattr(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct MountAttributes {
    /// Read-only.
    pub read_only: bool,
    /// No programs.
    pub no_exec: bool,
    /// Map owners by this user namespace.
    pub idmap: Option<i32>,
}

/// Sets attributes on a whole detached or attached tree: always without setuid and device files, always private.
pub fn mount_setattr(tree: BorrowedFd<'_>, attributes: MountAttributes) -> io::Result<()> {
    let mut set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if attributes.read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    if attributes.no_exec {
        set |= libc::MOUNT_ATTR_NOEXEC;
    }
    apply_attributes(tree, set, attributes.idmap)
}

/// Sets attributes on a device file's mount, which must stay a device.
pub fn mount_setattr_device(tree: BorrowedFd<'_>) -> io::Result<()> {
    apply_attributes(tree, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC, None)
}

fn apply_attributes(tree: BorrowedFd<'_>, set: u64, idmap: Option<i32>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set | if idmap.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: idmap.map_or(0, |fd| u64::try_from(fd).unwrap_or(0)),
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is an empty C string, and the structure lives until the call returns with its true size.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, tree.as_raw_fd(), c"".as_ptr(), flags, &raw const attributes, size_of::<libc::mount_attr>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends this process when the thread that started it ends. Cleared by any change of credentials: call it after.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: prctl with integer arguments touches no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// No core dump, no ptrace, and no reading of `/proc/<pid>` by others of the same user.
pub fn set_undumpable() -> io::Result<()> {
    // SAFETY: prctl with integer arguments touches no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Clears the signal mask and sets every signal to its default: dispositions survive `execve`.
pub fn reset_signals() {
    // SAFETY: `sigset_t` is plain data that sigemptyset fills; SIG_DFL installs no handler.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Executes a program, by descriptor or by path; returns only when that failed.
pub fn execute(program: Option<BorrowedFd<'_>>, path: &CString, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer, and the strings that they point to outlive the call.
    unsafe {
        match program {
            Some(fd) => libc::syscall(libc::SYS_execveat, fd.as_raw_fd(), c"".as_ptr(), argv.as_ptr(), env.as_ptr(), libc::AT_EMPTY_PATH),
            None => libc::c_long::from(libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr())),
        };
    }
    io::Error::last_os_error()
}

/// Starts a child; `None` in the child. This process must have one thread.
pub fn fork() -> io::Result<Option<rustix::process::Pid>> {
    // SAFETY: there is one thread, so the child may do anything that the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(rustix::process::Pid::from_raw(pid)),
    }
}

/// Sends a signal to a process group; numbers that mean "everybody" are refused.
pub fn signal_group(group: rustix::process::Pid, signal: i32) -> io::Result<()> {
    let group = group.as_raw_nonzero().get();
    if group <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill takes integers.
    let result = unsafe { libc::kill(-group, signal) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the terminal the controlling one of this session.
pub fn take_controlling_terminal(terminal: impl AsFd) -> io::Result<()> {
    // SAFETY: the request takes an integer.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings an interface up that needs no address, as `lo`.
pub fn interface_up(name: &str) -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: an all-zero `ifreq` is valid; the name fits with its closing zero, and the kernel reads only the
    // union's member that belongs to the request.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(libc::c_short::MAX);
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Gives a socket a filter that can be neither changed nor removed (socket(7), `SO_LOCK_FILTER`).
pub fn filter_for_good(socket: BorrowedFd<'_>, program: &mut [libc::sock_filter]) -> io::Result<()> {
    /// Linux 3.9; the same on every architecture with the generic numbers.
    const SO_LOCK_FILTER: libc::c_int = 44;
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)?;
    set_option(socket, libc::SOL_SOCKET, SO_LOCK_FILTER, &1_i32)
}

/// Lets a packet socket receive what arrives at an interface, and not what leaves it a moment before (packet(7)).
pub fn receive_packets(socket: BorrowedFd<'_>, interface: i32) -> io::Result<()> {
    /// Linux 4.20 (linux/if_packet.h).
    const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
    set_option(socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)?;
    // SAFETY: an all-zero `sockaddr_ll` is valid, and the kernel reads as many bytes as it has.
    let result = unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or_default();
        address.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
        address.sll_ifindex = interface;
        let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_option<T>(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
    // SAFETY: the kernel reads `length` bytes of `value`, which lives until the call returns, as does what it points to.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Places a descriptor at a number that the program will find.
pub fn place_fd(fd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: dup2 replaces whatever `number` was; the caller owns all numbers up to the highest that it places.
    let result =
        unsafe { if fd.as_raw_fd() == number { libc::fcntl(number, libc::F_SETFD, 0) } else { libc::dup2(fd.as_raw_fd(), number) } };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks every descriptor from `first` on as closed when a program is executed.
pub fn close_from_on_exec(first: u32) -> io::Result<()> {
    // SAFETY: close_range takes integers; it only sets a flag here.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Installs a filter that answers with `ENOSYS` to system calls that are newer than this program, and to those of
/// the x32 interface, whose numbers are higher still.
pub fn refuse_unknown_calls(highest: u32) -> io::Result<()> {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k };
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0), // offset of `nr` in seccomp_data
        step(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 0, 1, highest),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: the program lives until the call returns, and its length is the true one.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes one mount read-only, not those below it.
pub fn mount_setattr_root_read_only(tree: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: as in `apply_attributes`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the control groups that this process is in now the top of those that it can see.
pub fn own_cgroup_namespace() -> io::Result<()> {
    // SAFETY: this namespace shares no memory or descriptors that safe code relies on.
    let result = unsafe { libc::unshare(libc::CLONE_NEWCGROUP) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
