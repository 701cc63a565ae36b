//! What a component is given before it starts, the same in every backend: its authority, configuration, secrets and
//! sockets.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bottle_contract::names;
use rustix::fs::{AtFlags, Mode, chmodat, chownat};
use rustix::process::{Gid, Uid};

use super::Start;
use super::ids::{self, Ids};
use super::products::Listener;
use crate::ca::Authority;
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE, PUBLIC};
use crate::plan::{Dialler, Plan, SidecarPlan, Step};
use crate::store::Claim;
use crate::values::Values;

/// The host's certificate roots, in the configuration directory of a sidecar that needs them.
pub(super) const ROOTS: &str = "roots.pem";
/// Where Linux distributions keep them: Debian, Fedora, openSUSE, Alpine, NixOS.
const ROOT_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
];
/// No certificate file is larger; the system's roots take a quarter of a megabyte.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// The sidecar of this name.
pub(super) fn sidecar<'p>(plan: &'p Plan, component: &str) -> Result<&'p SidecarPlan> {
    let found = plan.sidecars.iter().find(|s| s.component == component);
    found.ok_or_else(|| {
        Error::failed(format!("the plan has no `{component}`"), "a step names it", "this is a bug in bottle: please report it")
    })
}

/// Performs a step that is the same in every backend: files and sockets in the runtime directory. False for any other.
pub(super) fn apply(step: &Step, start: &mut Start<'_>, operator: (u32, u32)) -> Result<bool> {
    let (plan, claim) = (start.plan, &*start.claim);
    let ids = |component: &str| ids::in_plan(operator, plan, component);
    match step {
        Step::RuntimeDirectory => drop(claim.runtime()?),
        Step::Authority(component) => {
            let certificate = authority(component, &plan.id, claim, ids(component))?;
            if plan.agent.trusts == *component {
                start.products.agent_ca = certificate;
            }
        }
        Step::Configuration(component) => configuration(sidecar(plan, component)?, &start.input.values, claim, ids(component))?,
        Step::Secrets(component, _) => secrets(sidecar(plan, component)?, &start.input.values, claim, ids(component))?,
        Step::Listen(component, dialler @ Dialler::Siblings(socket)) => {
            let sidecar = sidecar(plan, component)?;
            let name = sidecar.listeners.iter().find(|planned| planned.dialled_by == *dialler).map_or("", |planned| planned.name.as_str());
            let listener = unix_listener(&claim.runtime()?.subdir("link")?, socket, ids(component).foreign)?;
            start.products.put(Listener::new(sidecar, name), listener);
        }
        Step::Listen(component, Dialler::Supervisor) => {
            let (ours, theirs) = connection()?;
            start.products.put(Listener { component: component.clone(), name: names::listener::SUPERVISOR.to_owned() }, theirs);
            start.products.supervise = Some(ours);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Makes a component's certificate authority; returns its certificate.
fn authority(component: &str, id: &str, claim: &Claim, ids: Ids) -> Result<String> {
    let authority = Authority::generate(&format!("bottle {component} {id}"), SystemTime::now())?;
    let dir = claim.runtime()?.subdir(component)?.subdir("ca")?;
    dir.write_new(names::CA_CERT, authority.cert_pem.as_bytes(), PUBLIC)?;
    dir.write_new(names::CA_KEY, authority.key_pem.as_bytes(), PRIVATE)?;
    give(&dir, &[names::CA_CERT, names::CA_KEY], ids)?;
    Ok(authority.cert_pem)
}

/// Writes a sidecar's configuration.
fn configuration(sidecar: &SidecarPlan, values: &Values, claim: &Claim, ids: Ids) -> Result<()> {
    let dir = claim.runtime()?.subdir(&sidecar.component)?.subdir("config")?;
    let (name, text) = sidecar.config.render(values.fingerprints.as_ref()).map_err(|e| {
        Error::failed(format!("cannot write the configuration of {}", sidecar.component), e, "this is a bug in bottle: please report it")
    })?;
    let mut files = vec![(name.to_owned(), text.into_bytes())];
    for (name, path) in &sidecar.trust {
        files.push((name.clone(), read_certificates(path)?));
    }
    if sidecar.host_resolution {
        files.push((ROOTS.into(), system_roots()));
    }
    for (name, bytes) in &files {
        dir.write_new(name, bytes, PRIVATE)?;
    }
    give(&dir, &files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ids)
}

/// Writes a sidecar's secrets.
fn secrets(sidecar: &SidecarPlan, values: &Values, claim: &Claim, ids: Ids) -> Result<()> {
    let dir = claim.runtime()?.subdir(&sidecar.component)?.subdir("secrets")?;
    for secret in &sidecar.secrets {
        let value = values.tokens.get(&secret.token_ref).ok_or_else(|| {
            Error::failed(
                format!("the token `{}` has no value", secret.token_ref),
                "it was not resolved",
                "this is a bug in bottle: please report it",
            )
        })?;
        dir.write_new(&secret.slot, value.as_bytes(), PRIVATE)?;
    }
    give(&dir, &sidecar.secrets.iter().map(|s| s.slot.as_str()).collect::<Vec<_>>(), ids)
}

/// Makes a directory and the files in it the property of a component that is somebody else. The parent stays closed to it.
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
fn unix_listener(link: &Dir, name: &str, foreign: bool) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}/{name}", link.fd().as_raw_fd());
    let failed =
        |e: io::Error| Error::failed(format!("cannot listen on {}", link.path().join(name).display()), e, "see if /proc is mounted");
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Nobody but the components that the directory is mounted into can come near it: its parent is closed.
    let (directory, socket) = if foreign { (0o755, 0o666) } else { (0o700, 0o600) };
    chmodat(link.fd(), name, Mode::from_raw_mode(socket), AtFlags::empty())
        .and_then(|()| rustix::fs::fchmod(link.fd(), Mode::from_raw_mode(directory)))
        .map_err(|e| failed(e.into()))?;
    Ok(listener.into())
}

/// A connection between the supervisor and a sidecar: our end, which never blocks, and the sidecar's.
fn connection() -> Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .and_then(|(ours, theirs)| rustix::io::ioctl_fionbio(&ours, true).map(|()| (ours, theirs)));
    pair.map_err(|e| Error::failed("cannot connect a sidecar", format!("socketpair: {e}"), "raise `ulimit -n`"))
}

/// What a component needs to resolve names as the host does. A file that is missing is missing for the component.
pub(super) fn resolution() -> Vec<(PathBuf, String)> {
    ["/etc/resolv.conf", "/etc/hosts"].iter().filter_map(|path| Some((PathBuf::from(path), fs::read_to_string(path).ok()?))).collect()
}

/// The host's certificate roots: `SSL_CERT_FILE`, or the first file that a distribution keeps them in. None is no
/// error here: an origin whose certificate nobody vouches for is then refused.
fn system_roots() -> Vec<u8> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let paths = named.into_iter().chain(ROOT_FILES.iter().map(PathBuf::from));
    paths.filter_map(|path| read_bounded(&path).ok()).next().unwrap_or_default()
}

/// A PEM file that the manifest names.
fn read_certificates(path: &Path) -> Result<Vec<u8>> {
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
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, MAX_FILE_BYTES), &mut bytes)?;
    Ok(bytes)
}
