//! What every backend has of the kernel, whoever makes the namespaces: control groups, processes, and the first message to one.

pub mod cgroup;
pub(super) mod setup;

use crate::error::{Error, Result};
use crate::store::{Object, end_process};

/// Removes a control group, or ends a process; what is gone is success.
pub(super) fn undo(object: &Object) -> Result<()> {
    match object {
        Object::Cgroup(path) => cgroup::remove(path)
            .map_err(|e| Error::failed(format!("cannot remove the control group {}", path.display()), e, "`bottle cleanup` tries again")),
        Object::Process { pid, start_time, .. } => end_process(*pid, *start_time),
        other => Err(Error::failed(
            format!("cannot remove {other:?}"),
            "the backend that made it is another one",
            "this is a bug in bottle: please report it",
        )),
    }
}
