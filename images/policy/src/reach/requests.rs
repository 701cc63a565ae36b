//! Which methods and paths the rows of one host and port allow, and which of them other rows do not.
//!
//! Exact, not an estimate: a set of paths is a finite union of single paths and of all that begin with a prefix, so one prefix lies in a union
//! only if it lies in one prefix of it, whatever else is there.

use std::collections::{BTreeMap, BTreeSet};

use bottle_contract::path::hides_dots;
use bottle_contract::route::{Match, PathRule};

use super::{Ask, Method, Paths};

/// The matches of one row; no matches allow everything.
pub(super) type Row<'r> = &'r [Match];

/// What `other` allows and `rows` do not.
pub(super) fn beyond(rows: &[Row<'_>], other: &[Row<'_>]) -> Vec<Ask> {
    let named = rows.iter().chain(other).flat_map(|row| row.iter()).flat_map(|one| &one.methods);
    let methods: BTreeSet<Method> = named.cloned().map(Method::Named).chain([Method::Other]).collect();
    let mut by_paths: BTreeMap<Vec<Paths>, Vec<Method>> = BTreeMap::new();
    for method in &methods {
        let known = allowed(rows, method);
        let more: BTreeSet<Paths> = allowed(other, method).into_iter().filter(|paths| !is_covered(paths, &known)).collect();
        // All paths are not listed beside some of them.
        let more: Vec<Paths> = match more.contains(&Paths::All) {
            true => more.into_iter().filter(|paths| matches!(paths, Paths::All)).collect(),
            false => more.into_iter().collect(),
        };
        if !more.is_empty() {
            by_paths.entry(more).or_default().push(method.clone());
        }
    }
    let whole = |asked: Vec<Method>| if asked.len() == methods.len() { Vec::new() } else { asked };
    by_paths.into_iter().map(|(paths, asked)| Ask { methods: whole(asked), paths }).collect()
}

/// The paths that rows allow for a method.
fn allowed(rows: &[Row<'_>], method: &Method) -> BTreeSet<Paths> {
    let mut allowed = BTreeSet::new();
    for row in rows {
        let names_paths = row.iter().any(|one| !one.paths.is_empty());
        let fits = |one: &&Match| match method {
            Method::Named(name) => one.methods.is_empty() || one.methods.contains(name),
            Method::Other => one.methods.is_empty(),
        };
        if row.is_empty() || row.iter().filter(fits).any(|one| one.paths.is_empty()) {
            allowed.insert(Paths::All);
            if !names_paths {
                allowed.insert(Paths::Ambiguous);
            }
        }
        allowed.extend(row.iter().filter(fits).flat_map(|one| &one.paths).filter_map(paths));
    }
    allowed
}

/// The paths of a rule; a rule for ambiguous ones allows nothing, as these are refused wherever a row names paths.
fn paths(rule: &PathRule) -> Option<Paths> {
    let (PathRule::Exact(text) | PathRule::Prefix(text)) = rule;
    if text.starts_with("//") || hides_dots(text) {
        return None;
    }
    Some(match rule {
        PathRule::Exact(path) => Paths::Exact(path.clone()),
        // Every path begins with a slash.
        PathRule::Prefix(prefix) if prefix == "/" => Paths::All,
        PathRule::Prefix(prefix) => Paths::Prefix(prefix.clone()),
    })
}

fn is_covered(paths: &Paths, known: &BTreeSet<Paths>) -> bool {
    match paths {
        Paths::Ambiguous => known.contains(&Paths::Ambiguous),
        Paths::All => known.contains(&Paths::All),
        Paths::Exact(text) | Paths::Prefix(text) => known.iter().any(|other| match other {
            Paths::All => true,
            Paths::Prefix(prefix) => text.starts_with(prefix.as_str()),
            other => other == paths,
        }),
    }
}
