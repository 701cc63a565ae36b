//! Programs of the operator's that the supervisor runs itself: only from where no agent, and nobody else, could have put them.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directories of PATH that are absolute, outside `workspace`, and not writable by everybody.
pub fn directories(workspace: &Path) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).filter(|directory| is_trusted(directory, workspace)).collect()
}

/// The program of this name in `directories`, or at this absolute path.
pub fn find(name: &str, directories: &[PathBuf], workspace: &Path) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = match name.starts_with('/') {
        true => vec![PathBuf::from(name)],
        false => directories.iter().map(|directory| directory.join(name)).collect(),
    };
    candidates.into_iter().find(|candidate| {
        let executable = fs::metadata(candidate).is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0);
        executable && is_trusted(candidate, workspace)
    })
}

/// True for what nobody else can write, and no agent could have written.
fn is_trusted(path: &Path, workspace: &Path) -> bool {
    let Ok(real) = path.canonicalize() else { return false };
    let others_write = |meta: fs::Metadata| meta.mode() & 0o002 != 0;
    path.is_absolute() && !real.starts_with(workspace) && fs::metadata(&real).is_ok_and(|meta| !others_write(meta))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_program_in_the_workspace_or_that_others_could_have_written_is_not_found() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().canonicalize().unwrap();
        let program = directory.join("ssh-keygen");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let find = |workspace: &Path| find("ssh-keygen", std::slice::from_ref(&directory), workspace);
        assert_eq!(find(Path::new("/elsewhere")), Some(program.clone()));
        assert_eq!(find(&directory), None);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o757)).unwrap();
        assert_eq!(find(Path::new("/elsewhere")), None);
        assert!(!is_trusted(Path::new("."), Path::new("/elsewhere")), "a relative entry of PATH");
    }
}
