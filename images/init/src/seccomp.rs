//! The system call filter: what neither an agent nor a sidecar has any business with.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use crate::spec::{Failure, SeccompProfile, UnixSockets};
use crate::{socket_rules, sys};

/// The highest number of a system call that this list was written with in mind (`mseal`, Linux 6.10). What is newer
/// does not exist inside.
const HIGHEST_KNOWN: u32 = 462;

/// Namespaces, mounts and roots: the way out of a bottle, and the way into more kernel code.
const NAMESPACES: &[libc::c_long] = &[
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
];

/// The machine and its kernel.
const ADMINISTRATION: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
];

/// Large kernel interfaces with a history of privilege escalation, and the keyrings, which no namespace separates.
const ATTACK_SURFACE: &[libc::c_long] = &[
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_fanotify_init,
    libc::SYS_kcmp,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_set_mempolicy,
    libc::SYS_vmsplice,
];

/// Answered with `ENOSYS`, so that programs fall back: io_uring goes around this filter, and the arguments of
/// `clone3` lie in memory, where a filter cannot look.
const AS_IF_MISSING: &[libc::c_long] = &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_clone3];

/// A sidecar starts nothing and looks at nobody.
const SIDECAR_ONLY: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// How files get their modes: the system call, and the number of the argument that holds the mode.
const MODES: &[(libc::c_long, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (libc::SYS_fchmodat2, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    (libc::SYS_mknodat, 2),
];

/// The same where the mode counts only with a flag: the system call, the argument with the flags, and the one with the mode.
const OPENING: &[(libc::c_long, u8, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1, 2),
    (libc::SYS_openat, 2, 3),
];

/// Namespace bits of `clone`; the low byte is the exit signal.
const CLONE_NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u32 as u64;

/// Installs the filters. They apply to all that this process starts, for good.
pub(crate) fn install(profile: SeccompProfile, sockets: UnixSockets) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::new("install the system call filter", e);
    let mut refused = Rules::default();
    refused.always(NAMESPACES);
    refused.always(ADMINISTRATION);
    refused.always(ATTACK_SURFACE);
    refused.arguments(profile, sockets).map_err(|e| failed(&e))?;
    if profile != SeccompProfile::Judge {
        refused.always(&[libc::SYS_pidfd_getfd]);
    }
    if profile == SeccompProfile::Sidecar {
        refused.always(SIDECAR_ONLY);
    }
    let mut missing = Rules::default();
    missing.always(AS_IF_MISSING);
    let bits: &[u32] = match profile {
        SeccompProfile::Agent => &[libc::S_ISUID],
        SeccompProfile::AgentOnHostTree => &[libc::S_ISUID, libc::S_ISGID],
        SeccompProfile::Sidecar | SeccompProfile::Judge => &[],
    };
    if !bits.is_empty() {
        // Its mode lies in memory, where a filter cannot look; programs fall back to `openat`.
        missing.always(&[libc::SYS_openat2]);
        refused.set_id_modes(bits).map_err(|e| failed(&e))?;
    }
    // Order matters: the filter that is installed first still lets `seccomp` itself pass.
    for (rules, errno) in [(missing, libc::ENOSYS), (refused, libc::EPERM)] {
        let program = rules.compile(errno).map_err(|e| failed(&e))?;
        apply_filter(&program).map_err(|e| failed(&e))?;
    }
    sys::refuse_unknown_calls(HIGHEST_KNOWN).map_err(|e| failed(&e))
}

#[derive(Default)]
struct Rules(BTreeMap<i64, Vec<SeccompRule>>);

impl Rules {
    fn always(&mut self, calls: &[libc::c_long]) {
        self.0.extend(calls.iter().map(|&call| (call, Vec::new())));
    }

    /// Calls that are refused for some arguments only. Arguments that the kernel reads as 32 bits are compared as
    /// 32 bits: high bits must not hide a value.
    fn arguments(&mut self, profile: SeccompProfile, sockets: UnixSockets) -> Result<(), seccompiler::BackendError> {
        use SeccompCmpArgLen::{Dword, Qword};
        let mut namespaces = Vec::new();
        for bit in (0..64).map(|n| 1u64 << n).filter(|bit| CLONE_NAMESPACES & bit != 0) {
            namespaces.push(SeccompRule::new(vec![SeccompCondition::new(0, Qword, SeccompCmpOp::MaskedEq(bit), bit)?])?);
        }
        if profile == SeccompProfile::Sidecar {
            let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
            namespaces.push(SeccompRule::new(vec![SeccompCondition::new(0, Qword, SeccompCmpOp::MaskedEq(thread), 0)?])?);
        }
        self.0.insert(libc::SYS_clone, namespaces);
        self.0.insert(libc::SYS_socket, socket_rules::of_socket(sockets)?);
        self.0.insert(libc::SYS_socketpair, socket_rules::of_pair(sockets)?);
        // Typing into the operator's terminal.
        let ioctl = |request: u64| SeccompCondition::new(1, Dword, SeccompCmpOp::Eq, request).and_then(|c| SeccompRule::new(vec![c]));
        self.0.insert(libc::SYS_ioctl, vec![ioctl(libc::TIOCSTI)?, ioctl(libc::TIOCLINUX)?]);
        Ok(())
    }

    /// Modes with one of these bits. Where set-group-id is one of them, pid 1 judges changes of modes.
    fn set_id_modes(&mut self, bits: &[u32]) -> Result<(), seccompiler::BackendError> {
        let bits: Vec<u64> = bits.iter().copied().map(u64::from).collect();
        let changing: Vec<libc::c_long> = crate::modes::calls().collect();
        let set = |argument: u8, bit: u64| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bit), bit);
        for &(call, mode) in MODES {
            let of_call = bits.iter().filter(|bit| **bit != u64::from(libc::S_ISGID) || !changing.contains(&call));
            let rules = of_call.map(|&bit| SeccompRule::new(vec![set(mode, bit)?])).collect::<Result<_, _>>()?;
            self.0.insert(call, rules);
        }
        let create = u64::from(libc::O_CREAT.unsigned_abs());
        // `O_TMPFILE` holds the bit of `O_DIRECTORY`, too; a mode matters with its own bit only.
        let tmpfile = u64::from((libc::O_TMPFILE & !libc::O_DIRECTORY).unsigned_abs());
        for &(call, flags, mode) in OPENING {
            let mut rules = Vec::new();
            for flag in [create, tmpfile] {
                for &bit in &bits {
                    rules.push(SeccompRule::new(vec![set(flags, flag)?, set(mode, bit)?])?);
                }
            }
            self.0.insert(call, rules);
        }
        Ok(())
    }

    fn compile(self, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        SeccompFilter::new(self.0, SeccompAction::Allow, SeccompAction::Errno(errno.unsigned_abs()), arch)?.try_into()
    }
}
