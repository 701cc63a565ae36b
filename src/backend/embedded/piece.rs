//! One piece: its descriptors, its files on the host, its start and its end.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use bottle_init::spec::Spec;
use rustix::fs::{AtFlags, Mode, OFlags, chmodat, chownat, open};
use rustix::process::{Gid, PidfdFlags, Signal, Uid, pidfd_open, pidfd_send_signal};

use super::ids::Ids;
use super::{cgroup, spawn};
use crate::backend::Cell;
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::store::{Claim, Object};

/// The host's certificate roots, in the configuration directory of a sidecar that needs them.
pub const ROOTS: &str = "roots.pem";
/// Where Linux distributions keep them: Debian, Fedora, openSUSE, Alpine, NixOS.
const ROOT_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
];
/// No certificate file is larger; the system's roots take a quarter of a megabyte.
const LARGEST: u64 = 8 << 20;

fn failed(piece: &str, what: &str) -> impl Fn(io::Error) -> Error + use<> {
    let what = format!("cannot start `{piece}`: {what}");
    move |error| Error::failed(&what, error, "`bottle doctor` shows what this host allows")
}

/// A pipe whose ends are not inherited.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// Numbers descriptors behind those that are there, from 1 on.
fn add(fds: &mut Vec<OwnedFd>, fd: OwnedFd) -> usize {
    fds.push(fd);
    fds.len()
}

/// Starts the agent's first process.
pub(super) fn start_agent(
    spec: &mut Spec,
    fds: &mut Vec<OwnedFd>,
    ids: Ids,
    own: BorrowedFd<'_>,
    groups: &[PathBuf],
    claim: &mut Claim,
) -> Result<Cell> {
    let fail = failed("agent", "make its pipes");
    let mut outputs = Vec::new();
    let mut input = None;
    if !spec.terminal {
        let (input_theirs, input_ours) = pipe().map_err(&fail)?;
        let (stdout_ours, stdout_theirs) = pipe().map_err(&fail)?;
        let (stderr_ours, stderr_theirs) = pipe().map_err(&fail)?;
        spec.stdio_fds = [add(fds, input_theirs), add(fds, stdout_theirs), add(fds, stderr_theirs)];
        outputs = vec![("stdout", stdout_ours), ("stderr", stderr_ours)];
        input = Some(input_ours);
    }
    let entrances = cgroup::entrances(groups).map_err(failed("agent", "open its control groups"))?;
    spec.group_fds = entrances.into_iter().map(|fd| add(fds, fd)).collect();
    start(spec, fds, ids, own, claim, outputs, input, None)
}

/// Starts a sidecar.
pub(super) fn start_sidecar(
    spec: &mut Spec,
    fds: &mut Vec<OwnedFd>,
    program: OwnedFd,
    listeners: Vec<OwnedFd>,
    ids: Ids,
    own: BorrowedFd<'_>,
    claim: &mut Claim,
) -> Result<Cell> {
    let fail = failed(&spec.piece, "make its pipes");
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|e| fail(e.into()))?;
    let (log_ours, log_theirs) = pipe().map_err(&fail)?;
    let (ready_ours, ready_theirs) = pipe().map_err(&fail)?;
    let null = add(fds, null);
    let log = add(fds, log_theirs);
    spec.stdio_fds = [null, log, log];
    spec.exec.program_fd = Some(add(fds, program));
    spec.passed_fds = listeners.into_iter().map(|fd| add(fds, fd)).collect();
    spec.passed_fds.push(add(fds, ready_theirs));
    start(spec, fds, ids, own, claim, vec![("stderr", log_ours)], None, Some(ready_ours))
}

#[expect(clippy::too_many_arguments, reason = "the two callers above are its only use; each argument is one descriptor or fact")]
fn start(
    spec: &Spec,
    fds: &[OwnedFd],
    ids: Ids,
    own: BorrowedFd<'_>,
    claim: &mut Claim,
    outputs: Vec<(&'static str, OwnedFd)>,
    input: Option<OwnedFd>,
    ready: Option<OwnedFd>,
) -> Result<Cell> {
    let spawned = spawn::spawn(own, ids, !spec.own_network).map_err(failed(&spec.piece, "make its namespaces"))?;
    let pid = spawned.pid.as_raw_nonzero().get().unsigned_abs();
    let start_time = crate::store::start_time(pid).unwrap_or_default();
    claim.record(Object::Process { piece: spec.piece.clone(), pid, start_time })?;
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    spawn::set_up(&spawned, spec, &borrowed).map_err(failed(&spec.piece, "tell it what to do"))?;
    Ok(Cell { piece: spec.piece.clone(), pid: spawned.pid, pidfd: spawned.pidfd, control: spawned.control, outputs, input, ready })
}

/// Makes a directory and the files in it the property of a piece that is somebody else. The parent stays closed to it.
pub(super) fn give(dir: &Dir, files: &[&str], ids: Ids) -> Result<()> {
    if !ids.foreign {
        return Ok(());
    }
    let (uid, gid) = (Some(Uid::from_raw(ids.uid)), Some(Gid::from_raw(ids.gid)));
    files
        .iter()
        .try_for_each(|name| chownat(dir.fd(), *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
        .and_then(|()| rustix::fs::fchown(dir.fd(), uid, gid))
        .map_err(|e| Error::failed(format!("cannot hand {} to its sidecar", dir.path().display()), e, "bottle as root needs CAP_CHOWN"))
}

/// A unix socket in the link directory. It is made through the directory's descriptor: a path may be longer than the
/// 107 bytes that an address takes.
pub(super) fn unix_listener(link: &Dir, name: &str, foreign: bool) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}/{name}", link.fd().as_raw_fd());
    let failed =
        |e: io::Error| Error::failed(format!("cannot listen on {}", link.path().join(name).display()), e, "see if /proc is mounted");
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Nobody but the pieces that the directory is mounted into can come near it: its parent is closed.
    let (directory, socket) = if foreign { (0o755, 0o666) } else { (0o700, 0o600) };
    chmodat(link.fd(), name, Mode::from_raw_mode(socket), AtFlags::empty())
        .and_then(|()| rustix::fs::fchmod(link.fd(), Mode::from_raw_mode(directory)))
        .map_err(|e| failed(e.into()))?;
    Ok(listener.into())
}

/// What a piece needs to resolve names as the host does. A file that is missing is missing for the piece.
pub(super) fn resolution() -> Vec<(PathBuf, String)> {
    ["/etc/resolv.conf", "/etc/hosts"].iter().filter_map(|path| Some((PathBuf::from(path), fs::read_to_string(path).ok()?))).collect()
}

/// The host's certificate roots: `SSL_CERT_FILE`, or the first file that a distribution keeps them in. None is no
/// error here: an origin whose certificate nobody vouches for is then refused.
pub(super) fn system_roots() -> Vec<u8> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let paths = named.into_iter().chain(ROOT_FILES.iter().map(PathBuf::from));
    paths.filter_map(|path| read_bounded(&path).ok()).next().unwrap_or_default()
}

/// A PEM file that the manifest names.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<u8>> {
    let hint = "name a PEM file of certificates under `egress.trust`";
    let bytes = read_bounded(path).map_err(|e| Error::failed(format!("cannot read `{}`", path.display()), e, hint))?;
    let text = b"-----BEGIN CERTIFICATE-----";
    if !bytes.windows(text.len()).any(|w| w == text) {
        return Err(Error::failed(format!("`{}` holds no certificate", path.display()), "no BEGIN CERTIFICATE line", hint));
    }
    Ok(bytes)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, LARGEST), &mut bytes)?;
    Ok(bytes)
}

/// Ends a process that a supervisor left, if it is still the same one.
pub(super) fn end(pid: u32, start_time: u64) -> Result<()> {
    let Some(number) = i32::try_from(pid).ok().filter(|n| *n > 1).and_then(rustix::process::Pid::from_raw) else { return Ok(()) };
    let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) else { return Ok(()) };
    // The descriptor names whoever has the number now; only then is it looked at.
    if crate::store::start_time(pid) != Some(start_time) {
        return Ok(());
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(Error::failed(format!("cannot end process {pid}"), e, "`bottle cleanup` tries again")),
    }
}
