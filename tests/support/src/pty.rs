//! A scripted operator: a terminal, the keys that are typed on it, and what is seen.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::pty::{Winsize, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{FlowArg, Termios, tcflow, tcgetattr};
use nix::unistd::setsid;

/// ioctl_tty(2).
mod call {
    use nix::libc;
    use nix::pty::Winsize;

    nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, Winsize);
    nix::ioctl_write_int_bad!(set_controlling_terminal, libc::TIOCSCTTY);
}

/// A terminal, seen from the operator's side.
#[derive(Debug)]
pub struct Pty {
    master: File,
    /// Kept only until the command has its own, so that the terminal's end is seen.
    slave: Option<OwnedFd>,
    screen: Arc<Screen>,
    /// What nobody reads yet.
    unread: Option<File>,
    /// How much of what was seen has been waited for.
    read: usize,
}

#[derive(Debug, Default)]
struct Screen {
    seen: Mutex<Seen>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    bytes: Vec<u8>,
    ended: bool,
}

impl Pty {
    /// A terminal of this size, with the kernel's usual modes.
    pub fn open(columns: u16, rows: u16) -> io::Result<Self> {
        let mut pty = Self::unread(columns, rows)?;
        pty.look();
        Ok(pty)
    }

    /// The same, which nobody looks at: it takes a few kilobytes and no more.
    pub fn unread(columns: u16, rows: u16) -> io::Result<Self> {
        // Close-on-exec from the first instant (openpty's are not): a process that another test's thread starts meanwhile would
        // keep the terminal from ending.
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(ptsname_r(&master)?)?;
        let master = File::from(OwnedFd::from(master));
        let unread = Some(master.try_clone()?);
        let pty = Self { master, slave: Some(slave.into()), screen: Arc::default(), unread, read: 0 };
        pty.resize(columns, rows)?;
        Ok(pty)
    }

    /// Looks at what is there, and at all that comes.
    pub fn look(&mut self) {
        if let Some(reader) = self.unread.take() {
            let screen = self.screen.clone();
            thread::spawn(move || watch(reader, &screen));
        }
    }

    /// Stops the terminal, as Ctrl-S does: it takes nothing until it is started again.
    pub fn stop(&self) -> io::Result<()> {
        tcflow(self.slave.as_ref().ok_or_else(|| io::Error::other("the terminal was left"))?, FlowArg::TCOOFF)?;
        Ok(())
    }

    /// Makes the terminal the standard streams of `command`.
    pub fn attach(&self, command: &mut Command) -> io::Result<()> {
        let slave = self.slave.as_ref().ok_or_else(|| io::Error::other("the terminal is in use"))?;
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave.try_clone()?);
        Ok(())
    }

    /// The same, and makes the command the leader of a session of its own that this terminal controls.
    pub fn control(&self, command: &mut Command) -> io::Result<()> {
        self.attach(command)?;
        // SAFETY: setsid and ioctl are async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                call::set_controlling_terminal(0, 0)?;
                Ok(())
            })
        };
        Ok(())
    }

    /// Leaves the terminal to the commands that were started on it: when they end, it ends. The commands must be dropped too,
    /// as they hold it.
    pub fn leave(&mut self) {
        self.slave = None;
    }

    /// Types.
    pub fn send(&mut self, keys: &[u8]) -> io::Result<()> {
        self.master.write_all(keys)
    }

    /// Changes the window's size; the kernel tells the foreground process group (SIGWINCH).
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        // SAFETY: the descriptor is a terminal's, and the structure outlives the call.
        unsafe { call::set_size(self.master.as_raw_fd(), &window(columns, rows)) }?;
        Ok(())
    }

    /// The modes in force.
    pub fn modes(&self) -> io::Result<Termios> {
        Ok(tcgetattr(self.master.as_fd())?)
    }

    /// Another descriptor of the terminal, for `Scope::terminal`.
    pub fn terminal(&self) -> io::Result<OwnedFd> {
        self.master.as_fd().try_clone_to_owned()
    }

    /// Waits until `text` is seen after what was last waited for, and returns everything up to its end.
    pub fn wait_for(&mut self, text: &str, patience: Duration) -> Result<Vec<u8>, NotSeen> {
        let start = self.read;
        let position = |seen: &Seen| find(&seen.bytes[start..], text.as_bytes()).map(|at| start + at + text.len());
        let seen = self.screen.wait(patience, |seen| seen.ended || position(seen).is_some());
        match position(&seen) {
            Some(end) => {
                self.read = end;
                Ok(seen.bytes[start..end].to_vec())
            }
            None => Err(NotSeen { text: text.to_owned(), instead: seen.bytes[start..].to_vec(), ended: seen.ended }),
        }
    }

    /// Waits until the last process has left the terminal, and returns every byte that was ever seen; nothing if `patience` is
    /// over first.
    pub fn read_to_end(&self, patience: Duration) -> Option<Vec<u8>> {
        let seen = self.screen.wait(patience, |seen| seen.ended);
        seen.ended.then(|| seen.bytes.clone())
    }

    /// Every byte so far.
    pub fn seen(&self) -> Vec<u8> {
        self.screen.lock().bytes.clone()
    }
}

/// What was not seen in time, and what was seen instead.
#[derive(Clone, PartialEq, Eq)]
pub struct NotSeen {
    text: String,
    instead: Vec<u8>,
    ended: bool,
}

impl std::fmt::Debug for NotSeen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let why = if self.ended { "the terminal ended" } else { "the time was over" };
        write!(f, "{:?} was not seen when {why}; instead: {}", self.text, self.instead.escape_ascii())
    }
}

impl Screen {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, patience: Duration, mut enough: impl FnMut(&Seen) -> bool) -> MutexGuard<'_, Seen> {
        self.news.wait_timeout_while(self.lock(), patience, |seen| !enough(seen)).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Copies until the end, which a terminal's master side gives as EIO once nobody has the other side open.
fn watch(mut reader: File, screen: &Screen) {
    let mut buffer = [0; 8 << 10];
    loop {
        let read = match reader.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.unwrap_or(0),
        };
        let mut seen = screen.lock();
        seen.bytes.extend_from_slice(&buffer[..read]);
        seen.ended = read == 0;
        let ended = seen.ended;
        drop(seen);
        screen.news.notify_all();
        if ended {
            return;
        }
    }
}

fn window(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
