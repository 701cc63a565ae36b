//! Which unix sockets an agent reaches where a tree of the host is mounted that it can look for sockets in: those that somebody inside
//! listens on, and no others.
//!
//! The path of a socket lies in the agent's memory, which its threads change at will, so that a filter of system calls cannot judge it and
//! the kernel must not read it again. Pid 1 therefore makes the connection on the agent's own socket itself: it reads the address once,
//! opens the file, compares it with those that were listened on, and connects to exactly this file.
//!
//! A file is known by its inode, which stays open here: its number cannot become another file's. A socket gets there by `listen`, not by
//! its path. Datagram sockets, which need no connection, do not exist in such a bottle.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::socket::UnixAddr;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::control::Channel;
use crate::notify::{self, Call};
use crate::spec::{Failure, SeccompProfile, UnixSockets};
use crate::{privileges, seccomp};

/// The calls that pid 1 answers.
const CALLS: [libc::c_long; 2] = [libc::SYS_connect, libc::SYS_listen];
/// Files that are known at once. One that is pushed out is not reached any more.
const MAX_FILES: usize = 256;
/// Connections that may wait for the other side at once; each has a thread.
const MAX_WAITING: usize = 64;
/// Bytes of the longest address (`struct sockaddr_storage`).
const MAX_ADDRESS: usize = 128;
/// Bytes of an address before its path.
const FAMILY: usize = size_of::<libc::sa_family_t>();

/// Answers the calls of one agent.
#[derive(Debug)]
pub(crate) struct Judge {
    listener: Arc<OwnedFd>,
    files: VecDeque<OwnedFd>,
    waiting: Arc<()>,
}

/// A connection that is allowed.
struct Connection {
    socket: OwnedFd,
    address: Address,
}

enum Address {
    /// As the agent wrote it: no path.
    Verbatim(Vec<u8>),
    /// The file of a socket that somebody inside listens on.
    File(OwnedFd),
}

/// In the agent's process before it becomes the program: gives up what pid 1 has kept, and hands its calls over to it.
pub(crate) fn hand_over(channel: &Channel, profile: SeccompProfile) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::new("let pid 1 watch the agent's sockets", e);
    privileges::drop_rest()?;
    seccomp::install(profile, UnixSockets::Judged)?;
    let listener = notify::listen(&CALLS).map_err(failed)?;
    channel.send_with(&(), &[listener]).map_err(failed)
}

impl Judge {
    /// Serves the calls that wait at this descriptor.
    pub(crate) fn new(listener: OwnedFd) -> Self {
        Self { listener: Arc::new(listener), files: VecDeque::new(), waiting: Arc::default() }
    }

    /// Answers the next call; an error means that no more come.
    pub(crate) fn serve(&mut self) -> std::io::Result<()> {
        let Some(call) = notify::receive(self.listener.as_fd())? else { return Ok(()) };
        if call.number == libc::SYS_listen {
            if let Ok(file) = self.listened(&call) {
                self.remember(file);
            }
            // The kernel looks at numbers only. Were another socket put in this one's place by now, it would not be known.
            notify::proceed(self.listener.as_fd(), call.id);
            return Ok(());
        }
        match self.judge(&call) {
            Ok(connection) => self.connect(call.id, connection),
            Err(errno) => notify::answer(self.listener.as_fd(), call.id, Err(errno.raw_os_error())),
        }
        Ok(())
    }

    fn listened(&self, call: &Call) -> std::io::Result<OwnedFd> {
        let socket = Caller::of(call)?.descriptor(argument(call, 0))?;
        if !notify::still_waits(self.listener.as_fd(), call.id) {
            return Err(Errno::SRCH.into());
        }
        notify::bound_file(socket)
    }

    fn remember(&mut self, file: OwnedFd) {
        let Ok(new) = fstat(&file) else { return };
        if self.knows(&new) {
            return;
        }
        if self.files.len() >= MAX_FILES {
            self.files.retain(|file| fstat(file).is_ok_and(|stat| stat.st_nlink > 0));
        }
        if self.files.len() >= MAX_FILES {
            self.files.pop_front();
        }
        self.files.push_back(file);
    }

    fn knows(&self, wanted: &Stat) -> bool {
        self.files.iter().filter_map(|file| fstat(file).ok()).any(|stat| (stat.st_dev, stat.st_ino) == (wanted.st_dev, wanted.st_ino))
    }

    fn judge(&self, call: &Call) -> Result<Connection, Errno> {
        let caller = Caller::of(call)?;
        let socket = caller.descriptor(argument(call, 0))?;
        let length = usize::try_from(argument(call, 2)).ok().filter(|length| *length <= MAX_ADDRESS).ok_or(Errno::INVAL)?;
        let bytes = caller.read(call.arguments[1], length)?;
        let target = match path(&socket, &bytes) {
            Some(path) => Some(caller.open(path)?),
            None => None,
        };
        // All of this was found by the caller's number. If it still waits, the number was its own all the time.
        if !notify::still_waits(self.listener.as_fd(), call.id) {
            return Err(Errno::SRCH);
        }
        let Some(file) = target else { return Ok(Connection { socket, address: Address::Verbatim(bytes) }) };
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket || !self.knows(&stat) {
            return Err(Errno::CONNREFUSED);
        }
        Ok(Connection { socket, address: Address::File(file) })
    }

    /// Connects, in a thread if that may take its time.
    fn connect(&self, id: u64, connection: Connection) {
        let listener = self.listener.clone();
        let is_patient = rustix::fs::fcntl_getfl(&connection.socket).is_ok_and(|flags| !flags.contains(OFlags::NONBLOCK));
        if !is_patient {
            return notify::answer(listener.as_fd(), id, connection.make());
        }
        let waiting = self.waiting.clone();
        let started = if Arc::strong_count(&waiting) > MAX_WAITING + 1 {
            Err(std::io::ErrorKind::WouldBlock.into())
        } else {
            std::thread::Builder::new().stack_size(1 << 16).spawn(move || {
                notify::answer(listener.as_fd(), id, connection.make());
                drop(waiting);
            })
        };
        if started.is_err() {
            notify::answer(self.listener.as_fd(), id, Err(libc::EAGAIN));
        }
    }
}

impl AsFd for Judge {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Connection {
    fn make(&self) -> Result<(), i32> {
        match &self.address {
            Address::Verbatim(bytes) => notify::connect(self.socket.as_fd(), bytes),
            Address::File(file) => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                let address = UnixAddr::new(path.as_str()).map_err(|errno| errno as i32)?;
                nix::sys::socket::connect(self.socket.as_raw_fd(), &address).map_err(|errno| errno as i32)
            }
        }
    }
}

/// The kernel takes this argument as 32 bits.
fn argument(call: &Call, index: usize) -> i32 {
    let bytes = call.arguments[index].to_le_bytes();
    i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The path in an address, if this socket would look one up. Abstract names stay in the network namespace.
fn path<'a>(socket: &OwnedFd, address: &'a [u8]) -> Option<&'a Path> {
    let (family, path) = address.split_at_checked(FAMILY)?;
    let family = libc::sa_family_t::from_ne_bytes(family.try_into().ok()?);
    if family != AddressFamily::UNIX.as_raw()
        || socket_domain(socket).ok() != Some(AddressFamily::UNIX)
        || path.first().is_none_or(|b| *b == 0)
    {
        return None;
    }
    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
    Some(Path::new(OsStr::from_bytes(&path[..end])))
}

/// Who made a call.
struct Caller {
    thread: i32,
    process: i32,
    pidfd: OwnedFd,
}

impl Caller {
    fn of(call: &Call) -> Result<Self, Errno> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", call.thread)).map_err(|_| Errno::SRCH)?;
        let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).ok_or(Errno::SRCH)?;
        let pidfd = pidfd_open(Pid::from_raw(process).ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
        Ok(Self { thread: call.thread, process, pidfd })
    }

    fn descriptor(&self, number: i32) -> Result<OwnedFd, Errno> {
        pidfd_getfd(&self.pidfd, number, PidfdGetfdFlags::empty())
    }

    fn read(&self, from: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; length];
        let base = usize::try_from(from).map_err(|_| Errno::FAULT)?;
        let thread = nix::unistd::Pid::from_raw(self.thread);
        let read = process_vm_readv(thread, &mut [std::io::IoSliceMut::new(&mut bytes)], &[RemoteIoVec { base, len: length }]);
        match read {
            Ok(count) if count == length => Ok(bytes),
            Ok(_) => Err(Errno::FAULT),
            Err(errno) => Err(Errno::from_raw_os_error(errno as i32)),
        }
    }

    /// Opens what the caller's path leads to. This process may follow links to descriptors and directories of processes that the caller may
    /// not; so it follows none but those that programs use to shorten a path, and these as the caller's.
    fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let own = [PathBuf::from("/proc/self"), PathBuf::from("/proc/thread-self"), PathBuf::from(format!("/proc/{}", self.process))];
        let rest = own.iter().find_map(|own| path.strip_prefix(own).ok());
        let descriptors = rest.and_then(|rest| rest.strip_prefix("fd").ok()).or_else(|| path.strip_prefix("/dev/fd").ok());
        if let Some(rest) = descriptors {
            let mut rest = rest.components();
            let number = rest.next().and_then(|first| first.as_os_str().to_str()?.parse().ok()).ok_or(Errno::NOENT)?;
            return open_below(self.descriptor(number)?, rest.as_path());
        }
        if let Some(rest) = rest.and_then(|rest| rest.strip_prefix("cwd").ok()) {
            return open_below(self.directory()?, rest);
        }
        if path.is_absolute() { open_at(CWD, path) } else { open_at(self.directory()?.as_fd(), path) }
    }

    /// The caller's working directory.
    fn directory(&self) -> Result<OwnedFd, Errno> {
        rustix::fs::open(format!("/proc/{0}/task/{0}/cwd", self.thread), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }
}

fn open_below(base: OwnedFd, rest: &Path) -> Result<OwnedFd, Errno> {
    if rest.as_os_str().is_empty() { Ok(base) } else { open_at(base.as_fd(), rest) }
}

fn open_at(base: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    openat2(base, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}
