//! What the supervisor may use, and what a crash of it may not write.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{Error, Result};

/// Descriptors that a bottle needs at least: the inside half works above the 64th, and a start hands over a few dozen.
const DESCRIPTORS: u64 = 256;
/// Descriptors that are taken where the host allows them: the usual soft limit.
const COMFORT: u64 = 1024;

/// Sets the limits of this process before it holds a secret.
pub fn set() -> Result<()> {
    // One byte, not none: a program in `core_pattern` is not bound by a limit of 0, and the kernel never starts it for 1.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) });
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(u64::MAX);
    if now.current.is_some_and(|current| current < COMFORT) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(COMFORT.min(most)), maximum: now.maximum });
    }
    match getrlimit(Resource::Nofile).current {
        Some(count) if count < DESCRIPTORS => Err(Error::failed(
            "this process may not open enough files",
            format!("the limit is {count}, a bottle needs {DESCRIPTORS}"),
            "raise it: `ulimit -n 1024`",
        )),
        _ => Ok(()),
    }
}
