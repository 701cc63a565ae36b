//! A directory of the host as a tree: names, kinds, sizes, and whether the owner may execute. Nothing else of what the file system knows.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use crate::path::EntryPath;
use crate::tree::{Content, Node, Tree};

/// How deep a directory may be; a path of a tar header has fewer parts.
const MAX_DEPTH: usize = 128;

/// Reads a directory. Devices, sockets and fifos are refused: an image that silently lacked them would be another one.
pub(crate) fn tree(root: &Path) -> Result<Tree, String> {
    let mut tree = Tree::default();
    let meta = fs::symlink_metadata(root).map_err(|e| e.to_string())?;
    if !meta.is_dir() {
        return Err("it is not a directory".into());
    }
    below(root, None, 0, &mut tree)?;
    Ok(tree)
}

fn below(directory: &Path, within: Option<&EntryPath>, depth: usize, tree: &mut Tree) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("more than {MAX_DEPTH} directories in each other"));
    }
    for entry in fs::read_dir(directory).map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        let name = entry.file_name();
        let path = within.map_or_else(|| EntryPath::new(name.as_bytes()), |within| within.join(name.as_bytes()))?;
        let node = node(&entry.path()).map_err(|why| format!("`{path}`: {why}"))?;
        let is_directory = node == Node::Directory;
        tree.add(path.clone(), node)?;
        if is_directory {
            below(&entry.path(), Some(&path), depth + 1, tree)?;
        }
    }
    Ok(())
}

fn node(path: &Path) -> Result<Node, String> {
    let meta = fs::symlink_metadata(path).map_err(|e| e.to_string())?;
    let kind = meta.file_type();
    if kind.is_dir() {
        return Ok(Node::Directory);
    }
    if kind.is_symlink() {
        let target = fs::read_link(path).map_err(|e| e.to_string())?;
        return Ok(Node::Link(target.as_os_str().as_bytes().to_vec()));
    }
    if kind.is_file() {
        let executable = meta.permissions().mode() & 0o100 != 0;
        return Ok(Node::File { content: Content::File(path.to_owned(), meta.len()), executable, setuid: false });
    }
    let what = match () {
        () if kind.is_fifo() => "a fifo",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(format!("{what} cannot be in an image"))
}
