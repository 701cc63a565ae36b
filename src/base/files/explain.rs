//! What the system refused, in words: what happened, the call and its error, and what to do.

use std::path::Path;

use bottle_contract::Untrusted;
use rustix::io::Errno;

use crate::error::Error;

/// The error of a system call on `path`. `verb` completes "cannot …".
pub fn failed(verb: &str, path: &Path, call: &str, errno: Errno) -> Error {
    let shown = Untrusted::new(path.as_os_str().as_encoded_bytes());
    let what = match errno {
        Errno::NOSPC | Errno::DQUOT => format!("no space to {verb} `{shown}`"),
        _ => format!("cannot {verb} `{shown}`"),
    };
    Error::failed(what, format!("{call}: {errno}"), hint(errno))
}

/// What an operator can do about it.
fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOSPC | Errno::DQUOT => "free space or inodes there (`df -h`, `df -i`), or set BOTTLE_HOME to a directory with room",
        Errno::ROFS => "the file system is read-only; set BOTTLE_HOME to a directory that you can write",
        Errno::ACCESS | Errno::PERM => "look at owner and mode (`ls -ld`); set BOTTLE_HOME to a directory of your own",
        Errno::LOOP => "a symlink is in the way, and is not followed; remove it",
        Errno::NOTDIR => "something that is not a directory has that name; remove it",
        Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY => "something else has that name; remove it, or choose another name",
        Errno::NOSYS => "bottle needs Linux 5.6 or later, and a container that lets openat2 through",
        Errno::MFILE | Errno::NFILE => "too many files are open; raise `ulimit -n`",
        Errno::XDEV => "another file system is mounted there; unmount it",
        Errno::NOENT => "it does not exist, or was removed meanwhile",
        _ => "the cause is the system's own words",
    }
}
