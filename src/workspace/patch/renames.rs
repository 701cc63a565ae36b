//! Which of the added files were deleted elsewhere: with the same content, or with the same name and most of their lines.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::super::merge::is_binary;
use super::super::tree::Tree;
use super::super::{Change, Kind, Node};
use super::hunks::Lines;
use super::{binary, side};

/// More pairs are not looked for, and larger files not compared by line: a patch without renames is right, too.
const MAX_FILES: usize = 20_000;
const MAX_COMPARED: usize = 200;
const MAX_COMPARED_BYTES: u64 = 1 << 20;
/// Per cent of the lines, as in git.
const SIMILAR: u32 = 50;

/// From each added path to the deleted one.
pub(super) fn find<'c>(changes: &[&'c Change], old: Tree<'_>, new: Tree<'_>) -> HashMap<&'c Path, &'c Path> {
    let sized = |kind: Kind| {
        let files = changes.iter().filter(move |change| change.kind == kind);
        files.filter_map(|change| match change.node {
            Node::File { bytes } if bytes > 0 => Some((change.path.as_path(), bytes)),
            _ => None,
        })
    };
    let mut renames = HashMap::new();
    let mut taken = HashSet::new();
    if sized(Kind::Deleted).count() > MAX_FILES || sized(Kind::Added).count() > MAX_FILES {
        return renames;
    }
    let mut by_size: HashMap<u64, Vec<&Path>> = HashMap::new();
    sized(Kind::Deleted).for_each(|(path, bytes)| by_size.entry(bytes).or_default().push(path));
    let mut by_id: HashMap<(u64, String), Vec<&Path>> = HashMap::new();
    let added: Vec<(&Path, u64)> = sized(Kind::Added).collect();
    for bytes in added.iter().map(|(_, bytes)| *bytes).collect::<HashSet<_>>() {
        for path in by_size.get(&bytes).into_iter().flatten() {
            if let Ok(Some(side)) = side(old, path) {
                by_id.entry((bytes, binary::blob_id(&side.content))).or_default().push(path);
            }
        }
    }
    for (path, bytes) in &added {
        if !by_size.contains_key(bytes) {
            continue;
        }
        let Ok(Some(side)) = side(new, path) else { continue };
        let Some(from) = by_id.get_mut(&(*bytes, binary::blob_id(&side.content))) else { continue };
        // Of several, the one of the same name.
        let best = from.iter().position(|from| from.file_name() == path.file_name()).unwrap_or(0);
        if !from.is_empty() {
            let from = from.remove(best);
            taken.insert(from);
            renames.insert(*path, from);
        }
    }
    let small = |(path, bytes): &(&'c Path, u64)| *bytes <= MAX_COMPARED_BYTES && path.file_name().is_some();
    let rest: Vec<&Path> = sized(Kind::Deleted).filter(small).map(|(path, _)| path).filter(|path| !taken.contains(path)).collect();
    let mut compared = 0;
    for (path, _) in added.iter().filter(|added| small(added)) {
        if renames.contains_key(path) {
            continue;
        }
        for from in rest.iter().filter(|from| from.file_name() == path.file_name()) {
            if taken.contains(from) || compared == MAX_COMPARED {
                continue;
            }
            compared += 1;
            let (Ok(Some(before)), Ok(Some(after))) = (side(old, from), side(new, path)) else { continue };
            let is_text = !is_binary(&before.content) && !is_binary(&after.content);
            if is_text && Lines::of(&before.content, &after.content).similarity() >= SIMILAR {
                taken.insert(from);
                renames.insert(*path, from);
                break;
            }
        }
    }
    renames
}
