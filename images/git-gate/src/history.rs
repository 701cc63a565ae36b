//! The commits, trees and tags of a pack: ancestry, and the paths of files. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use gix_hash::ObjectId;

use crate::pack::{Kind, Unsound};

/// The longest path of a file. Linux takes 4096 bytes.
const MAX_PATH_BYTES: usize = 4096;
/// Bytes of trees that are walked again under another path: some hundred thousand names.
const MAX_REPEATED: usize = 64 << 20;

/// A pack's objects but its blobs.
#[derive(Debug, Default)]
pub struct History {
    /// The trees, concatenated.
    bytes: Vec<u8>,
    commits: HashMap<ObjectId, Commit>,
    /// The commits in the pack's order.
    order: Vec<ObjectId>,
    trees: HashMap<ObjectId, (usize, usize)>,
    tree_order: Vec<ObjectId>,
    /// The committers of its commits and taggers of its tags, each with the first object that names them.
    committers: BTreeMap<Vec<u8>, ObjectId>,
}

/// Decides whether to walk a tree at this path. Gets the tree's length too.
trait Enter: FnMut(ObjectId, &[u8], usize) -> Result<bool, Unsound> {}
impl<F: FnMut(ObjectId, &[u8], usize) -> Result<bool, Unsound>> Enter for F {}

#[derive(Debug)]
struct Commit {
    tree: ObjectId,
    parents: Vec<ObjectId>,
}

/// A named object: its path, and the commit that adds it, if one does.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// The first commit that contains it.
    pub commit: Option<ObjectId>,
    /// From the root of the tree.
    pub path: &'a [u8],
    /// The object.
    pub id: ObjectId,
}

impl History {
    /// Adds an object. A malformed one is refused: its names could not be read.
    pub fn add(&mut self, kind: Kind, id: ObjectId, object: &[u8]) -> Result<(), Unsound> {
        let malformed = |why| Unsound::Object(id, why);
        match kind {
            Kind::Blob => {}
            Kind::Tag => {
                let tag = tag(object).ok_or_else(|| malformed("it is not a tag"))?;
                self.add_committer(tag, id);
            }
            Kind::Commit => {
                let (commit, committer) = commit(object).ok_or_else(|| malformed("it is not a commit"))?;
                self.add_committer(committer, id);
                if self.commits.insert(id, commit).is_none() {
                    self.order.push(id);
                }
            }
            Kind::Tree => {
                let mut rest = object;
                while !rest.is_empty() {
                    let (entry, after) = entry(rest).ok_or_else(|| malformed("it is not a tree"))?;
                    if entry.name.is_empty() || entry.name.contains(&b'/') || matches!(entry.name, b"." | b"..") {
                        return Err(malformed("it has an invalid file name"));
                    }
                    rest = after;
                }
                if !self.trees.contains_key(&id) {
                    let start = self.bytes.len();
                    self.bytes.extend_from_slice(object);
                    self.trees.insert(id, (start, self.bytes.len()));
                    self.tree_order.push(id);
                }
            }
        }
        Ok(())
    }

    /// Number of commits.
    pub fn commits(&self) -> usize {
        self.order.len()
    }

    /// True when these commits prove that `new` descends from `old`.
    pub fn shows_descent(&self, new: ObjectId, old: ObjectId) -> bool {
        let mut seen = HashSet::from([new]);
        let mut ahead = vec![new];
        while let Some(id) = ahead.pop() {
            if id == old {
                return true;
            }
            let parents = self.commits.get(&id).map(|commit| commit.parents.as_slice()).unwrap_or_default();
            ahead.extend(parents.iter().filter(|parent| seen.insert(**parent)));
        }
        false
    }

    /// Parents that are not in this history: upstream has them already.
    pub fn boundary(&self, new: ObjectId) -> Vec<ObjectId> {
        let mut seen = HashSet::from([new]);
        let mut ahead = vec![new];
        let mut boundary = Vec::new();
        while let Some(id) = ahead.pop() {
            match self.commits.get(&id) {
                None => boundary.push(id),
                Some(commit) => ahead.extend(commit.parents.iter().filter(|parent| seen.insert(**parent))),
            }
        }
        boundary
    }

    /// Calls `each` with every name in every tree. It walks each tree once, for the oldest commit that contains it, and then
    /// the trees that no commit contains.
    pub fn names(&self, each: impl FnMut(Named<'_>) -> Result<(), Unsound>) -> Result<(), Unsound> {
        let mut seen = HashSet::new();
        self.walk_all(|tree: ObjectId, _: &[u8], _: usize| Ok(seen.insert(tree)), each)
    }

    /// The same, but walks each tree once at each of its paths.
    pub fn paths(&self, each: impl FnMut(Named<'_>) -> Result<(), Unsound>) -> Result<(), Unsound> {
        let mut seen: HashMap<ObjectId, HashSet<Vec<u8>>> = HashMap::new();
        let mut repeated = 0;
        let enter = |tree: ObjectId, path: &[u8], length: usize| {
            let paths = seen.entry(tree).or_default();
            if paths.contains(path) {
                return Ok(false);
            }
            if !paths.is_empty() {
                repeated += length + path.len();
                if repeated > MAX_REPEATED {
                    return Err(Unsound::TooLarge("bytes of directories that have several paths", MAX_REPEATED as u64));
                }
            }
            Ok(paths.insert(path.to_vec()))
        };
        self.walk_all(enter, each)
    }

    fn walk_all(&self, mut enter: impl Enter, mut each: impl FnMut(Named<'_>) -> Result<(), Unsound>) -> Result<(), Unsound> {
        let mut path = Vec::new();
        let mut reached = HashSet::new();
        for id in self.oldest_first() {
            self.walk(Some(id), self.commits[&id].tree, &mut enter, &mut reached, &mut path, &mut each)?;
        }
        for tree in &self.tree_order {
            if !reached.contains(tree) {
                self.walk(None, *tree, &mut enter, &mut reached, &mut path, &mut each)?;
            }
        }
        Ok(())
    }

    /// Parents before their children.
    fn oldest_first(&self) -> Vec<ObjectId> {
        let mut order = Vec::with_capacity(self.order.len());
        let mut seen = HashSet::new();
        for start in &self.order {
            if !seen.insert(*start) {
                continue;
            }
            // Each with the number of its parents visited.
            let mut stack = vec![(*start, 0)];
            while let Some((id, next)) = stack.last_mut() {
                let commit = &self.commits[id];
                match commit.parents.get(*next) {
                    Some(parent) => {
                        *next += 1;
                        if self.commits.contains_key(parent) && seen.insert(*parent) {
                            stack.push((*parent, 0));
                        }
                    }
                    None => {
                        order.push(*id);
                        stack.pop();
                    }
                }
            }
        }
        order
    }

    /// The first object whose committer is not `allowed`, `Name <address>`; and its committer.
    pub fn other_committer(&self, allowed: &[u8]) -> Option<(ObjectId, &[u8])> {
        self.committers.iter().find(|(committer, _)| *committer != allowed).map(|(committer, id)| (*id, committer.as_slice()))
    }

    fn add_committer(&mut self, line: &[u8], id: ObjectId) {
        let committer = identity(line);
        if !self.committers.contains_key(committer) {
            self.committers.insert(committer.to_vec(), id);
        }
    }

    fn walk(
        &self,
        commit: Option<ObjectId>,
        top: ObjectId,
        enter: &mut impl Enter,
        reached: &mut HashSet<ObjectId>,
        path: &mut Vec<u8>,
        each: &mut impl FnMut(Named<'_>) -> Result<(), Unsound>,
    ) -> Result<(), Unsound> {
        // The trees being walked: the rest of each, and the length of its path.
        let mut stack: Vec<(&[u8], usize)> = Vec::new();
        let mut open = |id: &ObjectId, path: &[u8]| -> Result<Option<&[u8]>, Unsound> {
            let Some((start, end)) = self.trees.get(id) else { return Ok(None) };
            reached.insert(*id);
            Ok(enter(*id, path, end - start)?.then(|| &self.bytes[*start..*end]))
        };
        stack.extend(open(&top, path)?.map(|tree| (tree, 0)));
        while let Some((rest, length)) = stack.last_mut() {
            let Some((found, after)) = entry(rest) else {
                stack.pop();
                continue;
            };
            *rest = after;
            path.truncate(*length);
            if *length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(found.name);
            if path.len() > MAX_PATH_BYTES {
                return Err(Unsound::Object(top, "a path in it is longer than 4096 bytes"));
            }
            each(Named { commit, path, id: found.id })?;
            if let Some(tree) = open(&found.id, path)? {
                stack.push((tree, path.len()));
            }
        }
        path.clear();
        Ok(())
    }
}

struct TreeEntry<'a> {
    name: &'a [u8],
    id: ObjectId,
}

/// The first entry of a tree: mode, space, name, zero, twenty bytes of id.
fn entry(tree: &[u8]) -> Option<(TreeEntry<'_>, &[u8])> {
    let space = tree.iter().take(8).position(|b| *b == b' ')?;
    if space == 0 || !tree[..space].iter().all(|b| (b'0'..=b'7').contains(b)) {
        return None;
    }
    let rest = &tree[space + 1..];
    let zero = memchr::memchr(0, rest)?;
    let (id, after) = rest[zero + 1..].split_first_chunk::<20>()?;
    Some((TreeEntry { name: &rest[..zero], id: ObjectId::from(*id) }, after))
}

/// Parses a commit; returns its committer line too.
fn commit(object: &[u8]) -> Option<(Commit, &[u8])> {
    let mut lines = object.split(|b| *b == b'\n');
    let tree = ObjectId::from_hex(lines.next()?.strip_prefix(b"tree ")?).ok()?;
    let mut parents = Vec::new();
    while let Some(line) = lines.next() {
        let Some(parent) = line.strip_prefix(b"parent ") else {
            line.strip_prefix(b"author ")?;
            let committer = lines.next()?.strip_prefix(b"committer ")?;
            return Some((Commit { tree, parents }, committer));
        };
        parents.push(ObjectId::from_hex(parent).ok()?);
    }
    None
}

/// Parses a tag; returns its tagger line. Tags of git's first years have none.
fn tag(object: &[u8]) -> Option<&[u8]> {
    let mut lines = object.split(|b| *b == b'\n');
    ObjectId::from_hex(lines.next()?.strip_prefix(b"object ")?).ok()?;
    let head = lines.take_while(|line| !line.is_empty());
    Some(head.filter_map(|line| line.strip_prefix(b"tagger ")).next().unwrap_or_default())
}

/// The `Name <address>` of a committer line. A line of another form is returned whole, so that it matches nobody.
fn identity(line: &[u8]) -> &[u8] {
    let Some(end) = line.iter().position(|b| *b == b'>') else { return line };
    let (identity, time) = line.split_at(end + 1);
    let is_time = |b: &u8| b.is_ascii_digit() || matches!(b, b' ' | b'+' | b'-');
    if time.first() == Some(&b' ') && time.iter().all(is_time) { identity } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ObjectId {
        ObjectId::from([n; 20])
    }

    fn tree(entries: &[(&str, u8)]) -> Vec<u8> {
        entries.iter().flat_map(|(name, n)| [b"40000 ", name.as_bytes(), b"\0", &[*n; 20]].concat()).collect()
    }

    fn commit_of(tree: u8, parents: &[u8]) -> Vec<u8> {
        let mut text = format!("tree {}\n", id(tree));
        for parent in parents {
            text += &format!("parent {}\n", id(*parent));
        }
        (text + "author a <a@b> 0 +0000\ncommitter c <c@d> 0 +0000\n\nwords\n").into_bytes()
    }

    fn history(commits: &[(u8, u8, &[u8])], trees: &[(u8, &[(&str, u8)])]) -> History {
        let mut history = History::default();
        for (n, top, parents) in commits {
            history.add(Kind::Commit, id(*n), &commit_of(*top, parents)).unwrap();
        }
        for (n, entries) in trees {
            history.add(Kind::Tree, id(*n), &tree(entries)).unwrap();
        }
        history
    }

    #[test]
    fn each_name_is_visited_with_the_oldest_commit_that_has_it() {
        let history = history(
            &[(2, 11, &[1]), (1, 10, &[])],
            &[(10, &[("src", 20)]), (11, &[("new", 31), ("src", 20)]), (20, &[("a", 30)]), (40, &[("stray", 1)])],
        );
        let mut visited = Vec::new();
        let each = |named: Named<'_>| {
            visited.push((named.commit.map(|c| c.as_slice()[0]), String::from_utf8(named.path.to_vec()).unwrap(), named.id.as_slice()[0]));
            Ok(())
        };
        history.names(each).unwrap();
        let expected = [(Some(1), "src", 20), (Some(1), "src/a", 30), (Some(2), "new", 31), (Some(2), "src", 20), (None, "stray", 1)];
        assert_eq!(visited, expected.map(|(c, path, n)| (c, path.to_owned(), n)));
    }

    #[test]
    fn descent_is_shown_through_any_parent_and_never_guessed() {
        let history = history(&[(3, 10, &[2, 9]), (2, 10, &[1]), (4, 10, &[9])], &[]);
        assert!(history.shows_descent(id(3), id(1)));
        assert!(history.shows_descent(id(3), id(9)));
        assert!(history.shows_descent(id(7), id(7)));
        assert!(!history.shows_descent(id(4), id(1)));
        assert!(!history.shows_descent(id(9), id(1)));
        let mut boundary = history.boundary(id(3));
        boundary.sort();
        assert_eq!(boundary, [id(1), id(9)]);
    }

    #[test]
    fn a_tree_that_holds_itself_many_times_is_walked_once() {
        // Ten names for one tree, ten levels deep: ten to the tenth paths.
        let names = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        let mut history = History::default();
        history.add(Kind::Commit, id(1), &commit_of(100, &[])).unwrap();
        for level in 100..110 {
            history.add(Kind::Tree, id(level), &tree(&names.map(|name| (name, level + 1)))).unwrap();
        }
        let mut visited = 0;
        history
            .names(|_| {
                visited += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(visited, 100);
    }

    #[test]
    fn a_tree_is_read_at_each_of_its_paths_and_not_without_end() {
        let paths = |history: &History| {
            let mut paths = Vec::new();
            let each = |named: Named<'_>| {
                paths.push(String::from_utf8(named.path.to_vec()).unwrap());
                Ok(())
            };
            history.paths(each).map(|()| paths)
        };
        let moved = history(&[(1, 10, &[]), (2, 11, &[1])], &[(10, &[("src", 20)]), (11, &[("lib", 20)]), (20, &[("a", 30)])]);
        assert_eq!(paths(&moved), Ok(["src", "src/a", "lib", "lib/a"].map(str::to_owned).to_vec()));
        let names = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        let levels: Vec<(u8, Vec<(&str, u8)>)> = (100..110).map(|n| (n, names.map(|name| (name, n + 1)).to_vec())).collect();
        let levels: Vec<(u8, &[(&str, u8)])> = levels.iter().map(|(n, entries)| (*n, entries.as_slice())).collect();
        let bomb = history(&[(1, 100, &[])], &levels);
        assert_eq!(paths(&bomb), Err(Unsound::TooLarge("bytes of directories that have several paths", 64 << 20)));
    }

    // covers: G20
    #[test]
    fn a_committer_is_read_in_one_way_only() {
        let of = |line: &str| {
            let mut history = History::default();
            let text = format!("tree {}\nauthor a <a@b> 0 +0000\ncommitter {line}\n\nwords\n", id(1));
            history.add(Kind::Commit, id(2), text.as_bytes()).unwrap();
            history.other_committer(b"Ada <ada@b>").map(|(_, committer)| String::from_utf8(committer.to_vec()).unwrap())
        };
        assert_eq!(of("Ada <ada@b> 1700000000 +0100"), None);
        for line in [
            "Eve <ada@b> 1 +0000",
            "Ada <eve@b> 1 +0000",
            "Ada <ada@b> <eve@b> 1 +0000",
            "Ada <ada@b>1 +0000",
            "Ada  <ada@b> 1 +0000",
            " Ada <ada@b> 1 +0000",
            "",
        ] {
            let found = of(line).unwrap_or_else(|| panic!("{line:?} passes as Ada"));
            assert!(line.starts_with(&found), "{line:?} is read as {found:?}");
        }
        let mut history = History::default();
        let commit = format!("tree {}\nauthor Ada <ada@b> 0 +0000\n\nwords\n", id(1));
        assert!(history.add(Kind::Commit, id(2), commit.as_bytes()).is_err(), "a commit without a committer");
        for (tagger, named) in [("tagger Ada <ada@b> 1 +0000\n", None), ("tagger Eve <e@b> 1 +0000\n", Some("Eve <e@b>")), ("", Some(""))] {
            let mut history = History::default();
            let text = format!("object {}\ntype commit\ntag v1\n{tagger}\ntagger Ada <ada@b> 1 +0000\n", id(1));
            history.add(Kind::Tag, id(3), text.as_bytes()).unwrap();
            assert_eq!(history.other_committer(b"Ada <ada@b>"), named.map(|named| (id(3), named.as_bytes())), "{tagger:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let mut history = History::default();
        for (kind, object) in [
            (Kind::Tree, &b"40000 a"[..]),
            (Kind::Tree, b"40000 a\0short"),
            (Kind::Tree, b"x a\0aaaaaaaaaaaaaaaaaaaa"),
            (Kind::Tree, b"40000 ..\0aaaaaaaaaaaaaaaaaaaa"),
            (Kind::Tree, b"40000 a/b\0aaaaaaaaaaaaaaaaaaaa"),
            (Kind::Tree, b"40000 \0aaaaaaaaaaaaaaaaaaaa"),
            (Kind::Commit, b"parent x"),
            (Kind::Commit, b"tree 1111111111111111111111111111111111111111\n"),
            (Kind::Tag, b"x"),
        ] {
            assert!(matches!(history.add(kind, id(1), object), Err(Unsound::Object(..))), "{object:?}");
        }
    }
}
