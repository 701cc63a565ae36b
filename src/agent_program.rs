//! Looks up a program of the host as a shell would, and what it takes to execute it. Nothing is executed.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::plan::agent::PATH;
use crate::plan::program::Program;

/// The kernel reads no more of a script's first line (`BINPRM_BUF_SIZE`).
const MAX_SHEBANG_BYTES: usize = 256;

/// Finds `name` on the operator's `PATH`.
pub fn look_up(name: &str) -> Option<Program> {
    look_up_in(name, &env::var_os("PATH")?)
}

/// Finds `name` where an agent would, if the bottle shows it the host's programs.
pub fn look_up_inside(name: &str) -> Option<Program> {
    look_up_in(name, OsStr::new(PATH))
}

fn look_up_in(name: &str, path: &OsStr) -> Option<Program> {
    let program = on_path(OsStr::new(name), path)?;
    let interpreter = interpreter(&program.file, path).map(Box::new);
    Some(Program { interpreter, ..program })
}

/// The first executable file of this name on `path`.
fn on_path(name: &OsStr, path: &OsStr) -> Option<Program> {
    // Relative entries, and a name that is a path, depend on where one stands; a repository must not choose the program.
    let is_path = name.as_bytes().contains(&b'/');
    let absolute = env::join_paths(env::split_paths(path).filter(|directory| directory.is_absolute())).ok();
    let absolute = absolute.filter(|directories| !directories.is_empty() && !is_path)?;
    which::which_in_all(name, Some(absolute), "/").ok()?.find_map(|found| at(&found))
}

/// An executable file.
fn at(found: &Path) -> Option<Program> {
    let file = fs::canonicalize(found).ok()?;
    let meta = fs::metadata(&file).ok()?;
    let executable = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
    executable.then(|| Program { found: found.to_owned(), file, interpreter: None })
}

/// Who executes a script: the program that its first line names, or the one that `env` would find.
fn interpreter(file: &Path, path: &OsStr) -> Option<Program> {
    let mut head = Vec::new();
    File::open(file).ok()?.take(MAX_SHEBANG_BYTES as u64).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(OsStr::from_bytes);
    let program = Path::new(words.next()?);
    if program.file_name() != Some(OsStr::new("env")) {
        return at(program);
    }
    // `env -S` and assignments come before the name.
    let name = words.find(|word| !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'='))?;
    on_path(name, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_and_a_script_are_followed_to_their_files() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let program = |name: &str, text: &str| {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), text).unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        program("lib/cli.js", "#!/usr/bin/env -S node --x\n");
        program("bin/node", "\x7fELF");
        fs::create_dir_all(root.join("empty")).unwrap();
        fs::write(root.join("empty/tool"), "not executable").unwrap();
        std::os::unix::fs::symlink("../lib/cli.js", root.join("bin/tool")).unwrap();
        let path = env::join_paths([Path::new("relative"), &root.join("empty"), &root.join("bin")]).unwrap();
        let node = Program { found: root.join("bin/node"), file: root.join("bin/node"), interpreter: None };
        let tool = Program { found: root.join("bin/tool"), file: root.join("lib/cli.js"), interpreter: Some(Box::new(node)) };
        assert_eq!(look_up_in("tool", &path), Some(tool));
        assert_eq!(look_up_in("other", &path), None);
        // Neither a path nor a relative directory is looked into.
        assert_eq!(look_up_in("bin/tool", root.as_os_str()), None);
        assert_eq!(look_up_in("sh", OsStr::new("")), None);
        assert_eq!(look_up_in("sh", OsStr::new("bin:usr/bin:.")), None);
    }
}
