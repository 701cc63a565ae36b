//! The parent of a run. Orphans fall to it, not to the machine's first process (PR_SET_CHILD_SUBREAPER), so that all that a run
//! leaves behind is below it, however often it forked and changed its session. When the test ends, it ends them.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A run under its warden.
#[derive(Debug)]
pub struct Warden {
    child: Child,
    /// Its end tells the warden to end all.
    reports: BufReader<UnixStream>,
    pid: i32,
    ending: Option<Ending>,
}

impl Warden {
    /// The program, beside the test executable as cargo lays it.
    pub fn program() -> PathBuf {
        let test = std::env::current_exe().unwrap_or_default();
        let program = crate::origin::Origin::program_beside(&test).with_file_name("bottle-warden");
        assert!(program.is_file(), "{} is missing: `cargo build -p bottle-test-support` makes it", program.display());
        program
    }

    /// A command that, once [`Self::watch`] starts it, runs `program`. Its environment, directory, user and streams are the
    /// run's. With `terminal`, the run is the leader of a session whose terminal is its standard input.
    pub fn command<A: AsRef<OsStr>>(program: &OsStr, arguments: impl IntoIterator<Item = A>, terminal: bool) -> Command {
        let mut command = Command::new(Self::program());
        command.arg(if terminal { "terminal" } else { "plain" }).arg(program).args(arguments);
        command
    }

    /// Starts such a command, and returns when the run has begun.
    pub fn watch(command: &mut Command) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        command.env(REPORTS, theirs.as_raw_fd().to_string());
        let fd = theirs.as_raw_fd();
        // SAFETY: fcntl is async-signal-safe, and `theirs` is open until the spawn has returned.
        unsafe { command.pre_exec(move || keep_open(fd)) };
        let child = command.spawn()?;
        drop(theirs);
        let mut warden = Self { child, reports: BufReader::new(ours), pid: 0, ending: None };
        match warden.report()?.split_once(' ') {
            Some(("started", pid)) => warden.pid = pid.parse().map_err(io::Error::other)?,
            other => return Err(io::Error::other(format!("the run did not begin: {other:?}"))),
        }
        Ok(warden)
    }

    /// The warden's own id.
    pub fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// The run's first process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// How the run ended, or nothing if `patience` is over first.
    pub fn wait(&mut self, patience: Duration) -> io::Result<Option<Ending>> {
        if self.ending.is_some() {
            return Ok(self.ending);
        }
        self.reports.get_ref().set_read_timeout(Some(patience))?;
        let report = match self.report() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            report => report?,
        };
        let number = |text: &str| text.parse().map_err(io::Error::other);
        self.ending = match report.split_once(' ') {
            Some(("code", code)) => Some(Ending::Code(number(code)?)),
            Some(("signal", signal)) => Some(Ending::Signal(number(signal)?)),
            _ => return Err(io::Error::other(format!("the warden said {report:?}"))),
        };
        Ok(self.ending)
    }

    fn report(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reports.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        // Shut down, not only closed: a copy of the descriptor may live on in a child of another test's.
        let _ = self.reports.get_ref().shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// Names the descriptor on which the warden reports.
pub const REPORTS: &str = "BOTTLE_WARDEN_REPORTS";

/// The warden's arguments: whether there is a terminal, the program, and the program's arguments.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<(bool, OsString, Vec<OsString>)> {
    let mut arguments = arguments.into_iter();
    let terminal = match arguments.next()?.to_str()? {
        "terminal" => true,
        "plain" => false,
        _ => return None,
    };
    Some((terminal, arguments.next()?, arguments.collect()))
}

fn keep_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: the caller keeps it open.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}
