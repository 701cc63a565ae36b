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
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use nix::sys::socket::UnixAddr;
use rustix::fs::{FileType, OFlags, Stat, fstat};
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;

use crate::caller::Caller;
use crate::notify::{self, Call};

/// The calls that are answered here.
pub(crate) const CALLS: [libc::c_long; 2] = [libc::SYS_connect, libc::SYS_listen];
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

impl Judge {
    pub(crate) fn new() -> Self {
        Self { files: VecDeque::new(), waiting: Arc::default() }
    }

    /// Answers a call.
    pub(crate) fn serve(&mut self, listener: &Arc<OwnedFd>, call: &Call) {
        if call.number == libc::SYS_listen {
            if let Ok(file) = listened(listener, call) {
                self.remember(file);
            }
            // The kernel looks at numbers only. Were another socket put in this one's place by now, it would not be known.
            return notify::proceed(listener.as_fd(), call.id);
        }
        match self.judge(listener, call) {
            Ok(connection) => self.connect(listener, call.id, connection),
            Err(errno) => notify::answer(listener.as_fd(), call.id, Err(errno.raw_os_error())),
        }
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

    fn judge(&self, listener: &OwnedFd, call: &Call) -> Result<Connection, Errno> {
        let caller = Caller::of(call)?;
        let socket = caller.descriptor(argument(call, 0))?;
        let length = usize::try_from(argument(call, 2)).ok().filter(|length| *length <= MAX_ADDRESS).ok_or(Errno::INVAL)?;
        let bytes = caller.read(call.arguments[1], length)?;
        let target = match path(&socket, &bytes) {
            Some(path) => Some(caller.open(path)?),
            None => None,
        };
        // All of this was found by the caller's number. If it still waits, the number was its own all the time.
        if !notify::still_waits(listener.as_fd(), call.id) {
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
    fn connect(&self, listener: &Arc<OwnedFd>, id: u64, connection: Connection) {
        let listener = listener.clone();
        let is_patient = rustix::fs::fcntl_getfl(&connection.socket).is_ok_and(|flags| !flags.contains(OFlags::NONBLOCK));
        if !is_patient {
            return notify::answer(listener.as_fd(), id, connection.make());
        }
        let waiting = self.waiting.clone();
        let answering = listener.clone();
        let started = if Arc::strong_count(&waiting) > MAX_WAITING + 1 {
            Err(std::io::ErrorKind::WouldBlock.into())
        } else {
            std::thread::Builder::new().stack_size(1 << 16).spawn(move || {
                notify::answer(answering.as_fd(), id, connection.make());
                drop(waiting);
            })
        };
        if started.is_err() {
            notify::answer(listener.as_fd(), id, Err(libc::EAGAIN));
        }
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

fn listened(listener: &OwnedFd, call: &Call) -> std::io::Result<OwnedFd> {
    let socket = Caller::of(call)?.descriptor(argument(call, 0))?;
    if !notify::still_waits(listener.as_fd(), call.id) {
        return Err(Errno::SRCH.into());
    }
    notify::bound_file(socket)
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
