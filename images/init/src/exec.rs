//! The program at the end of the preparations: which file, with which descriptors, and why it did not start.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Access, Mode, OFlags, access, open};
use rustix::io::fcntl_dupfd_cloexec;

use crate::spec::{Failure, Spec, take_fd};
use crate::sys;

/// Descriptors below this number belong to the program that is about to start.
pub(crate) const WORK_FDS: i32 = 64;

/// A program that can be executed at once.
#[derive(Debug)]
pub(crate) struct Program {
    file: Option<OwnedFd>,
    name: String,
    path: Option<String>,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    terminal: bool,
    fds: Vec<OwnedFd>,
}

/// Leaves the operator's standard descriptors at once; the program's own are kept for later.
pub(crate) fn take_stdio(spec: &Spec, fds: &mut [Option<OwnedFd>]) -> Result<(), Failure> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|e| Failure::new("open /dev/null", e))?;
    for number in 0..3 {
        sys::place_fd(null.as_fd(), number).map_err(|e| Failure::new("leave the operator's terminal", e))?;
    }
    for index in spec.stdio_fds.iter().chain(&spec.passed_fds).chain(&spec.exec.program_fd) {
        if let Some(Some(fd)) = fds.get(*index) {
            let high = fcntl_dupfd_cloexec(fd, WORK_FDS).map_err(|e| Failure::new("take over a descriptor", e))?;
            fds[*index] = Some(high);
        }
    }
    Ok(())
}

/// Enters the control groups of the component. The kernel judges by who opened their files: the supervisor.
pub(crate) fn enter_groups(spec: &Spec, fds: &mut [Option<OwnedFd>]) -> Result<(), Failure> {
    for &index in &spec.group_fds {
        let group = take_fd(fds, index)?;
        // 0 is the process that writes (Documentation/admin-guide/cgroup-v1/cgroups.rst, section 2.2).
        rustix::io::write(&group, b"0").map_err(|e| Failure::new("enter a control group", e))?;
    }
    Ok(())
}

impl Program {
    /// Gathers all that is needed, while an error can still be told.
    pub(crate) fn prepare(spec: &Spec, fds: &mut [Option<OwnedFd>], terminal: Option<OwnedFd>) -> Result<Self, Failure> {
        let text = |s: &str| CString::new(s).map_err(|_| Failure::new("prepare the program", "an argument or variable holds a zero byte"));
        let is_terminal = terminal.is_some();
        let mut own = Vec::new();
        match terminal {
            Some(terminal) => {
                for _ in 0..3 {
                    own.push(fcntl_dupfd_cloexec(&terminal, WORK_FDS).map_err(|e| Failure::new("hand over the terminal", e))?);
                }
            }
            None => {
                // One descriptor may serve as both output and error.
                for index in spec.stdio_fds {
                    let fd =
                        fds.get(index).and_then(Option::as_ref).ok_or_else(|| Failure::new("take over its output", "it did not come"))?;
                    own.push(fcntl_dupfd_cloexec(fd, WORK_FDS).map_err(|e| Failure::new("take over its output", e))?);
                }
            }
        }
        for &index in &spec.passed_fds {
            own.push(take_fd(fds, index)?);
        }
        let cwd = spec.exec.cwd.to_str().ok_or_else(|| Failure::new("prepare the program", "its directory is not UTF-8"))?;
        Ok(Self {
            file: spec.exec.program_fd.map(|index| take_fd(fds, index)).transpose()?,
            name: spec.exec.argv.first().cloned().unwrap_or_default(),
            path: spec.exec.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone()),
            argv: spec.exec.argv.iter().map(|a| text(a)).collect::<Result<_, _>>()?,
            env: spec.exec.env.iter().map(|(name, value)| text(&format!("{name}={value}"))).collect::<Result<_, _>>()?,
            cwd: text(cwd)?,
            terminal: is_terminal,
            fds: own,
        })
    }

    /// The program's standard output and error become these, and further descriptors come before those that it is passed.
    pub(crate) fn with(mut self, output: OwnedFd, error: OwnedFd, listeners: Vec<OwnedFd>) -> io::Result<Self> {
        let high = |fd: OwnedFd| fcntl_dupfd_cloexec(&fd, WORK_FDS);
        self.fds[1] = high(output)?;
        self.fds[2] = high(error)?;
        let listeners = listeners.into_iter().map(high).collect::<Result<Vec<_>, _>>()?;
        self.fds.splice(3..3, listeners);
        Ok(self)
    }

    /// Becomes the program; returns only when that failed.
    pub(crate) fn execute(self) -> io::Error {
        match self.try_execute() {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_execute(self) -> io::Result<std::convert::Infallible> {
        sys::reset_signals();
        for (fd, number) in self.fds.iter().zip(0..) {
            sys::place_fd(fd.as_fd(), number)?;
        }
        let placed = u32::try_from(self.fds.len()).unwrap_or(u32::MAX);
        sys::close_from_on_exec(placed)?;
        if self.terminal {
            sys::take_controlling_terminal(&self.fds[0])?;
        }
        rustix::process::chdir(&*self.cwd)?;
        let path = match &self.file {
            Some(_) => CString::default(),
            None => self.find()?,
        };
        Err(sys::execute(self.file.as_ref().map(AsFd::as_fd), &path, &self.argv, &self.env))
    }

    /// Looks the name up as execvp(3) does, but reports "not executable" rather than "not found" when a file was there.
    fn find(&self) -> io::Result<CString> {
        let usable = |candidate: &str| -> io::Result<CString> {
            let meta = std::fs::metadata(candidate)?;
            if !meta.is_file() || access(Path::new(candidate), Access::EXEC_OK).is_err() {
                return Err(io::Error::from_raw_os_error(libc::EACCES));
            }
            Ok(CString::new(candidate)?)
        };
        if self.name.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        if self.name.contains('/') {
            return usable(&self.name);
        }
        let mut worst = io::Error::from_raw_os_error(libc::ENOENT);
        for directory in self.path.as_deref().unwrap_or_default().split(':').filter(|d| d.starts_with('/')) {
            match usable(&format!("{directory}/{}", self.name)) {
                Ok(found) => return Ok(found),
                Err(error) if error.raw_os_error() == Some(libc::EACCES) => worst = error,
                Err(_) => {}
            }
        }
        Err(worst)
    }
}
