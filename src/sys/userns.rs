//! User namespaces that only carry a mapping: the kernel maps owners of files by them (mount_setattr(2)).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::clone::{Cloned, USER, exit, into_namespaces};

/// A user namespace in which the owner `inside` of files stands for `outside`, that one for `inside`, and everybody
/// else for themselves.
pub fn with_owner(inside: (u32, u32), outside: (u32, u32)) -> io::Result<OwnedFd> {
    let (lifeline, _ours) = io::pipe()?;
    let Cloned::Parent { pid, pidfd } = into_namespaces(USER, lifeline.as_fd(), &[])? else {
        // The child only keeps the namespace alive until its descriptor is open. Nothing is ever written: this waits for the end.
        let _ = rustix::io::retry_on_intr(|| rustix::io::read(&lifeline, &mut [0; 1]));
        exit(0)
    };
    let pid = pid.as_raw_nonzero();
    let namespace = fs::write(format!("/proc/{pid}/uid_map"), exchange(inside.0, outside.0))
        .and_then(|()| fs::write(format!("/proc/{pid}/gid_map"), exchange(inside.1, outside.1)))
        .and_then(|()| fs::File::open(format!("/proc/{pid}/ns/user")));
    pidfd_send_signal(&pidfd, Signal::KILL)?;
    waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
    namespace.map(OwnedFd::from)
}

/// A map in which `inside` and `outside` change places and every other number stands for itself.
fn exchange(inside: u32, outside: u32) -> String {
    if inside == outside {
        return format!("0 0 {}\n", u32::MAX);
    }
    let (low, high) = (inside.min(outside), inside.max(outside));
    let mut map = String::new();
    let mut row = |from: u32, to: u32, count: u32| {
        if count > 0 {
            map.push_str(&format!("{from} {to} {count}\n"));
        }
    };
    row(0, 0, low);
    row(low, high, 1);
    row(low + 1, low + 1, high - low - 1);
    row(high, low, 1);
    row(high + 1, high + 1, u32::MAX - high - 1);
    map
}

#[cfg(test)]
mod tests {
    use super::exchange;

    #[test]
    fn an_exchange_names_every_number_once() {
        assert_eq!(exchange(0, 7), "0 7 1\n1 1 6\n7 0 1\n8 8 4294967287\n");
        assert_eq!(exchange(7, 5), "0 0 5\n5 7 1\n6 6 1\n7 5 1\n8 8 4294967287\n");
        assert_eq!(exchange(5, 5), "0 0 4294967295\n");
    }
}
