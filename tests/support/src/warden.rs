//! The parent of a run. Orphans fall to it, not to the machine's first process (PR_SET_CHILD_SUBREAPER), so that all that a run
//! leaves behind is below it, however often it forked and changed its session. When the test ends, it ends them.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::thread::{self, JoinHandle};
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
    attendant: Attendant,
    /// Its process.
    id: i32,
    /// Its end tells the warden to end all.
    reports: BufReader<UnixStream>,
    pid: i32,
    ending: Option<Ending>,
}

/// Who waits for the warden's own end.
#[derive(Debug)]
enum Attendant {
    /// Whoever drops it.
    Owner(Child),
    /// A thread in which `assert_cmd` collects all that the run writes.
    Collector(Option<JoinHandle<io::Result<Output>>>),
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
        let (ours, theirs) = reports_to(command)?;
        let child = command.spawn()?;
        drop(theirs);
        Self::begun(Attendant::Owner(child), ours)
    }

    /// The same through `assert_cmd`, which collects what the run writes on its pipes. [`Self::output`] is all of it.
    pub fn collect(mut command: Command) -> io::Result<Self> {
        let (ours, theirs) = reports_to(&mut command)?;
        let collector = thread::spawn(move || {
            let output = assert_cmd::Command::from_std(command).output();
            // If nothing started, whoever waits for a report sees the end of the stream.
            drop(theirs);
            output
        });
        Self::begun(Attendant::Collector(Some(collector)), ours)
    }

    fn begun(attendant: Attendant, ours: UnixStream) -> io::Result<Self> {
        let mut warden = Self { attendant, id: 0, reports: BufReader::new(ours), pid: 0, ending: None };
        let report = warden.report()?;
        match report.split(' ').collect::<Vec<_>>()[..] {
            ["started", pid, id] => (warden.pid, warden.id) = (number(pid)?, number(id)?),
            _ => return Err(io::Error::other(format!("the run did not begin: {report:?}"))),
        }
        Ok(warden)
    }

    /// Ends whatever is left of the run. Returns all that it wrote, and the warden's own exit, which is the run's.
    ///
    /// # Panics
    /// If [`Self::collect`] has not begun it.
    pub fn output(mut self) -> io::Result<Output> {
        self.let_go();
        let Attendant::Collector(collector) = &mut self.attendant else { panic!("nobody collects what this run writes") };
        collector.take().expect("joined once").join().expect("the collector does not panic")
    }

    fn let_go(&self) {
        // Shut down, not only closed: a copy of the descriptor may live on in a child of another test's.
        let _ = self.reports.get_ref().shutdown(std::net::Shutdown::Both);
    }

    /// The warden's own id.
    pub fn id(&self) -> i32 {
        self.id
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
        self.let_go();
        match &mut self.attendant {
            Attendant::Owner(child) => drop(child.wait()),
            Attendant::Collector(collector) => drop(collector.take().map(JoinHandle::join)),
        }
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

/// Lets a warden report: the test's end, and the warden's, which must stay open until it has started.
fn reports_to(command: &mut Command) -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let fd = theirs.as_raw_fd();
    command.env(REPORTS, fd.to_string());
    // SAFETY: fcntl is async-signal-safe, and the caller keeps the descriptor open until the spawn has returned.
    unsafe { command.pre_exec(move || keep_open(fd)) };
    Ok((ours, theirs))
}

fn number(text: &str) -> io::Result<i32> {
    text.parse().map_err(io::Error::other)
}

fn keep_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: the caller keeps it open.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}
