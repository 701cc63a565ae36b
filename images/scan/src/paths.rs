//! What the path of a file means to rules and exceptions that name paths.

use crate::engine::Engine;
use crate::rules::{Allow, Rule};

/// Which rules and exceptions name a path. Files of one content get one verdict at all paths of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathKind {
    /// Indices of rules whose `path` matches.
    rules: Vec<u16>,
    /// Numbers of exceptions whose `paths` match, counted over all rules.
    exceptions: Vec<usize>,
}

impl PathKind {
    /// What this path means to the rules.
    pub(crate) fn of(engine: &Engine, path: &str) -> Self {
        let named = |(_, rule): &(u16, &Rule)| rule.path.as_ref().is_some_and(|regex| regex.is_match(path.as_bytes()));
        Self {
            rules: (0..).zip(&engine.rules).filter(named).map(|(index, _)| index).collect(),
            exceptions: exceptions(engine).enumerate().filter(|(_, allow)| allow.names(path)).map(|(number, _)| number).collect(),
        }
    }

    /// True when a rule holds at this path that does not hold everywhere.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// True when the path changes nothing.
    pub fn is_plain(&self) -> bool {
        self.rules.is_empty() && self.exceptions.is_empty()
    }
}

/// True when the path of a file can change the verdict on it.
pub(crate) fn has_rules(engine: &Engine) -> bool {
    engine.rules.iter().any(|rule| rule.path.is_some()) || has_exceptions(engine)
}

/// True when the path of a file can excuse what stands in it.
pub(crate) fn has_exceptions(engine: &Engine) -> bool {
    exceptions(engine).any(Allow::has_paths)
}

fn exceptions(engine: &Engine) -> impl Iterator<Item = &Allow> {
    engine.rules.iter().flat_map(|rule| &rule.allow).chain(&engine.allow)
}

#[cfg(test)]
mod tests {
    use crate::{Fingerprints, Rules, Scanner};

    fn scanner(rules: &str) -> Scanner {
        Scanner::with_rules(Rules::built_in().unwrap().beside(Rules::from_toml(rules).unwrap()), Fingerprints::default()).unwrap()
    }

    #[test]
    fn paths_are_of_one_kind_when_the_same_rules_and_exceptions_name_them() {
        let rules = "[[rules]]\nid = 'key-file'\npath = '\\.key$'\n[[rules]]\nid = 'x'\nregex = 'x{9}'\n\
                     [[rules.allowlists]]\npaths = ['^test/']\n";
        let scanner = scanner(rules);
        assert!(scanner.has_path_rules() && scanner.has_path_exceptions());
        assert!(scanner.path_kind("a/b.rs").is_plain());
        assert_eq!(scanner.path_kind("a.key"), scanner.path_kind("b/c.key"));
        assert!(scanner.path_kind("a.key").has_rules());
        let excused = scanner.path_kind("test/a.rs");
        assert!(!excused.has_rules() && !excused.is_plain());
        assert_ne!(scanner.path_kind("test/a.key"), excused);
    }

    #[test]
    fn the_built_in_rules_name_no_path() {
        assert!(!scanner("").has_path_rules());
    }
}
