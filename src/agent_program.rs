//! Looks up a program of the host as a shell would, and what it takes to execute it. Nothing is executed.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::plan::agent::PATH;
use crate::plan::program::{Program, TREES};
use crate::plan::toolchains::{self, Files, Operator, Toolchains};

/// The kernel reads no more of a script's first line (`BINPRM_BUF_SIZE`).
const MAX_SHEBANG_BYTES: usize = 256;

/// Finds `name` on the operator's `PATH`.
pub fn look_up(name: &str) -> Option<Program> {
    look_up_in(name, &env::var_os("PATH")?)
}

/// Finds `name` for an agent that sees these toolchains. A lone script that no toolchain brings is often a shim, which is nothing without what
/// lies around it: where the agent has another program of that name, it counts.
pub fn choose(name: &str, toolchains: &Toolchains) -> Option<Program> {
    let program = look_up(name)?;
    let is_brought = TREES.iter().any(|tree| program.file.starts_with(tree))
        || toolchains.trees.iter().any(|tree| program.file.starts_with(tree))
        || program.file.components().any(|part| part.as_os_str() == "node_modules");
    match look_up_inside(name) {
        Some(inside) if !is_brought && program.interpreter.is_some() => Some(inside),
        _ => Some(program),
    }
}

/// Finds `name` where an agent would, if the bottle shows it the host's programs.
pub fn look_up_inside(name: &str) -> Option<Program> {
    look_up_in(name, OsStr::new(PATH))
}

/// The toolchains that the operator's `PATH` leads to; `tools` are directories that the manifest shows.
pub fn toolchains(tools: &[PathBuf]) -> Toolchains {
    let path = env::var_os("PATH").unwrap_or_default();
    let variable = |name: &'static str| Some((name.to_owned(), PathBuf::from(env::var_os(name)?)));
    let operator = Operator {
        home: env::var_os("HOME").map(PathBuf::from),
        path: env::split_paths(&path).collect(),
        variables: Operator::asked().filter_map(variable).filter(|(_, place)| place.is_absolute()).collect(),
        tools: tools.to_vec(),
    };
    toolchains_of(&operator)
}

/// The toolchains that this operator's `PATH` leads to.
pub fn toolchains_of(operator: &Operator) -> Toolchains {
    let path = env::join_paths(&operator.path).unwrap_or_default();
    toolchains::find(operator, &Host { path: &path })
}

/// The host's file system.
struct Host<'a> {
    path: &'a OsStr,
}

impl Files for Host<'_> {
    fn canonical(&self, path: &Path) -> Option<PathBuf> {
        fs::canonicalize(path).ok()
    }

    fn names(&self, directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn is_program(&self, path: &Path) -> bool {
        at(path).is_some()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn interpreter(&self, path: &Path) -> Option<PathBuf> {
        interpreter(path, self.path).map(|program| program.found)
    }
}

fn look_up_in(name: &str, path: &OsStr) -> Option<Program> {
    if name.contains('/') {
        // A relative path is one of the workspace.
        let mut program = at(Path::new(name)).filter(|program| program.found.is_absolute())?;
        program.interpreter = interpreter(&program.file, path).map(Box::new);
        return Some(program);
    }
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
