//! The agent's terminal: from the bottle's own devpts, its master side handed to the supervisor.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::control::{Channel, FromInit};
use crate::spec::{Failure, Spec};

/// Opens a terminal with the operator's window size, so that the first paint is right.
pub(crate) fn open_pair(spec: &Spec) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let (rows, columns) = spec.window;
    tcsetwinsize(&terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok((master, terminal))
}

/// Opens the terminal and hands its master side over.
pub(crate) fn open_for(channel: &Channel, spec: &Spec) -> Result<OwnedFd, Failure> {
    let (master, terminal) = open_pair(spec).map_err(|e| Failure::new("open a terminal", e))?;
    channel.send_with(&FromInit::Terminal, &[master]).map_err(|e| Failure::new("hand over the terminal", e))?;
    Ok(terminal)
}
