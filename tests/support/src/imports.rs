//! Which files of a crate import each other, over however many others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module's path below its crate, as `["http", "body"]`; none is the root.
type Module = Vec<String>;

/// The files of a crate by module.
fn files(source: &Path) -> BTreeMap<Module, PathBuf> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![source.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in std::fs::read_dir(directory).expect("the directory is readable") {
            let path = entry.expect("the directory is readable").path();
            if path.is_dir() {
                ahead.push(path);
            } else {
                let below = path.strip_prefix(source).unwrap_or(&path).with_extension("");
                let module = below.iter().map(|part| part.to_string_lossy().into_owned());
                let module = module.filter(|part| !["lib", "main", "mod"].contains(&part.as_str())).collect();
                found.insert(module, path);
            }
        }
    }
    found
}

/// The paths of an import from its first name on: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn expand(text: &str, before: &Module, paths: &mut Vec<Module>) -> usize {
    let mut path = before.clone();
    let mut at = 0;
    loop {
        if text[at..].starts_with('{') {
            at += 1;
            loop {
                at += text[at..].len() - text[at..].trim_start_matches([' ', '\n', ',']).len();
                if text[at..].starts_with('}') {
                    return at + 1;
                }
                at += expand(&text[at..], &path, paths).max(1);
            }
        }
        let name: String = text[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        at += name.len();
        if name != "self" && !name.is_empty() {
            path.push(name);
        }
        if !text[at..].starts_with("::") {
            break;
        }
        at += 2;
    }
    paths.push(path);
    at
}

/// What a file names of its own crate. Tests may name whatever they like.
fn imports(module: &Module, text: &str, all: &BTreeMap<Module, PathBuf>) -> BTreeSet<Module> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut paths = Vec::new();
    let parent = module.split_last().map_or(&[][..], |(_, parent)| parent).to_vec();
    let of_crate = [("crate::".to_owned(), Module::new()), ("super::".to_owned(), parent), ("use ".to_owned(), module.clone())];
    // A module names what is in its own modules without any of these.
    let children = all.keys().filter(|other| other.split_last().is_some_and(|(_, parent)| parent == module));
    let children = children.filter_map(|child| Some((format!("{}::", child.last()?), child.clone())));
    for (start, before) in of_crate.into_iter().chain(children) {
        for (at, _) in code.match_indices(&start) {
            let begins_a_word = code[..at].chars().last().is_none_or(|c| !(c.is_alphanumeric() || "_$:".contains(c)));
            let rest = &code[at + start.len()..];
            if begins_a_word && !(start == "use " && ["crate::", "super::"].iter().any(|other| rest.starts_with(other))) {
                expand(rest, &before, &mut paths);
            }
        }
    }
    // A path that begins with no module of this crate is another crate's.
    let file_of = |path: Module| (0..=path.len()).rev().map(|length| path[..length].to_vec()).find(|module| all.contains_key(module));
    paths.into_iter().filter_map(file_of).filter(|other| other != module).collect()
}

/// Pairs of modules, by their paths below the crate, whose files import each other.
pub fn circles(source: &Path) -> Vec<(String, String)> {
    let all = files(source);
    assert!(all.len() > 1, "{} holds no files", source.display());
    let mut reached: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, path) in &all {
        reached.insert(module, imports(module, &std::fs::read_to_string(path).expect("the file is text"), &all));
    }
    loop {
        let next: BTreeMap<_, BTreeSet<Module>> =
            reached.iter().map(|(from, to)| (*from, to.iter().flat_map(|over| &reached[over]).chain(to).cloned().collect())).collect();
        if next == reached {
            break;
        }
        reached = next;
    }
    let pairs = reached.iter().flat_map(|(from, to)| to.iter().map(|to| (*from, to)));
    let mutual = pairs.filter(|(from, to)| from < to && reached[to].contains(*from));
    mutual.map(|(from, to)| (from.join("::"), to.join("::"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_found_however_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("lib.rs", "pub use crate::a::A;\n");
        write("a.rs", "use std::fmt;\nuse crate::{b::{self, B}, c};\n");
        write("b/mod.rs", "use inner::I;\n// use crate::a::A;\n");
        write("b/inner.rs", "fn f() { crate::c::g(); }\n");
        write("c.rs", "#[cfg(test)]\nmod tests { use crate::a::A; }\n");
        assert_eq!(circles(directory.path()), []);
        write("b/inner.rs", "use super::B;\n");
        assert_eq!(circles(directory.path()), [("b".to_owned(), "b::inner".to_owned())]);
        write("b/mod.rs", "mod inner;\nfn f() { inner::g(); }\n");
        assert_eq!(circles(directory.path()), [("b".to_owned(), "b::inner".to_owned())]);
        write("b/inner.rs", "");
        write("c.rs", "fn f() -> crate::A { todo!() }\n");
        assert_eq!(
            circles(directory.path()),
            [(String::new(), "a".to_owned()), (String::new(), "c".to_owned()), ("a".to_owned(), "c".to_owned())]
        );
    }
}
