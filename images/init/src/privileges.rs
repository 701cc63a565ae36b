//! Giving up every privilege, in the one order that works.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_capabilities_secure_bits,
    set_no_new_privs,
};

use crate::spec::{Failure, Spec};
use crate::sys;

/// What it takes to look into the agent's processes and to find the file of a socket.
const JUDGE: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::NET_ADMIN);

/// Order matters: nested user namespaces are forbidden while `/proc/sys` may still be written, the bounding set is
/// cleared while CAP_SETPCAP is still there, the capability sets go last.
///
/// Pid 1 of an agent whose sockets it judges keeps what that takes, over the bottle's own namespaces only; whatever it starts does not.
pub(crate) fn drop_all(spec: &Spec, judges: bool) -> Result<(), Failure> {
    set_limits(spec)?;
    set_no_new_privs(true).map_err(|e| Failure::new("forbid new privileges", e))?;
    clear_ambient_capability_set().map_err(|e| Failure::new("clear the ambient capabilities", e))?;
    clear_bounding_set()?;
    let locked = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(locked).map_err(|e| Failure::new("lock the security bits", e))?;
    keep(if judges { JUDGE } else { CapabilitySet::empty() })?;
    sys::set_undumpable().map_err(|e| Failure::new("forbid core dumps", e))?;
    // A change of credentials has cleared it.
    sys::die_with_parent().map_err(|e| Failure::new("bind this process to its supervisor", e))
}

/// Drops the capabilities that pid 1 has kept.
pub(crate) fn drop_rest() -> Result<(), Failure> {
    keep(CapabilitySet::empty())
}

/// Drops every capability but these.
fn keep(kept: CapabilitySet) -> Result<(), Failure> {
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(|e| Failure::new("drop the capabilities", e))
}

/// In a container: the engine was asked to give none, and a process without privileges can only look whether it did.
pub(crate) fn verify_none(spec: &Spec) -> Result<(), Failure> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| Failure::new("look at its own privileges", e))?;
    let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        if value(set).bytes().any(|digit| digit != b'0') || value(set).is_empty() {
            return Err(Failure::new("start without capabilities", format!("the engine left {set} {}", value(set))));
        }
    }
    if value("NoNewPrivs:") != "1" {
        return Err(Failure::new("start without new privileges", "the engine did not set no-new-privileges"));
    }
    if value("Uid:").split_whitespace().any(|id| id == "0") {
        return Err(Failure::new("start as an ordinary user", "the engine started it as root"));
    }
    set_limits(spec)?;
    sys::set_undumpable().map_err(|e| Failure::new("forbid core dumps", e))
}

fn set_limits(spec: &Spec) -> Result<(), Failure> {
    for &(number, limit) in &spec.rlimits {
        let resource = resource(number).ok_or_else(|| Failure::new("set a resource limit", format!("unknown number {number}")))?;
        // What is lower already stays: only root could raise it.
        let limit = getrlimit(resource).maximum.map_or(limit, |highest| highest.min(limit));
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limit).map_err(|e| Failure::new(format!("set the limit {resource:?}"), e))?;
    }
    Ok(())
}

/// Drops capability after capability until the kernel knows no further number.
fn clear_bounding_set() -> Result<(), Failure> {
    for number in 0..64u32 {
        // SAFETY: prctl with integer arguments touches no memory.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        if result != 0 {
            let error = std::io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::EINVAL) && number > 0 {
                Ok(())
            } else {
                Err(Failure::new("clear the capability bounding set", error))
            };
        }
    }
    Ok(())
}

fn resource(number: u32) -> Option<Resource> {
    [Resource::Core, Resource::Nofile, Resource::Nproc, Resource::Fsize, Resource::Memlock, Resource::As, Resource::Msgqueue]
        .into_iter()
        .find(|r| *r as u32 == number)
}
