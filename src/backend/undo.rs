//! Undoing: the same code after a run and after a crash.

use std::time::{Duration, Instant};

use super::compose;
use super::embedded::cgroup;
use crate::error::Error;
use crate::store::{Claim, Object, end_process};

/// How long the kernel may take to let go of a control group.
const LET_GO: Duration = Duration::from_secs(2);

/// What becomes of a bottle's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directory {
    /// It stays, with the logs and a record of what is left.
    Kept,
    /// It is removed next. Nothing is written: a full disk must not stand in the way.
    Removed,
}

/// Removes everything that is recorded of a bottle whose processes have ended, last first. `bottle cleanup` uses the same for a bottle
/// whose supervisor was killed.
pub fn objects(claim: &mut Claim, directory: Directory) -> Vec<Error> {
    let mut errors = Vec::new();
    let objects = claim.metadata().objects.clone();
    let deadline = Instant::now() + LET_GO;
    for object in objects.iter().rev() {
        let result = match object {
            Object::Cgroup(path) => cgroup::remove(path, deadline).map_err(|e| {
                Error::failed(format!("cannot remove the control group {}", path.display()), e, "`bottle cleanup` tries again")
            }),
            Object::RuntimeDir(_) => claim.remove_runtime(),
            Object::Process { pid, start_time, .. } => end_process(*pid, *start_time),
            // Kept for `bottle diff` and `bottle apply`.
            Object::WorkspaceDir(_) => continue,
            Object::ComposeProject { project, host } => compose::undo::project(project, host.as_deref(), claim, directory),
        };
        match result {
            Ok(()) if directory == Directory::Removed => {}
            Ok(()) => errors.extend(claim.forget(object).err()),
            Err(error) => errors.push(error),
        }
    }
    errors
}
