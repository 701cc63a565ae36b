//! What the path of a file means to rules and exceptions that name paths.

use crate::Scanner;
use crate::rules::Allow;

/// Which rules and exceptions name a path. Files of one content get one verdict at all paths of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathKind {
    /// Indices of rules whose `path` matches.
    rules: Vec<u16>,
    /// Numbers of exceptions whose `paths` match, counted over all rules.
    exceptions: Vec<usize>,
}

impl PathKind {
    /// True when a rule holds at this path that does not hold everywhere.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// True when the path changes nothing.
    pub fn is_plain(&self) -> bool {
        self.rules.is_empty() && self.exceptions.is_empty()
    }
}

impl Scanner {
    /// True when the path of a file can change the verdict on it.
    pub fn has_path_rules(&self) -> bool {
        self.engine.rules.iter().any(|rule| rule.path.is_some()) || self.has_path_exceptions()
    }

    /// True when the path of a file can excuse what stands in it.
    pub fn has_path_exceptions(&self) -> bool {
        self.exceptions().any(Allow::has_paths)
    }

    /// What this path means to the rules.
    pub fn path_kind(&self, path: &str) -> PathKind {
        let named = |(_, rule): &(u16, &crate::rules::Rule)| rule.path.as_ref().is_some_and(|regex| regex.is_match(path.as_bytes()));
        PathKind {
            rules: (0..).zip(&self.engine.rules).filter(named).map(|(index, _)| index).collect(),
            exceptions: self.exceptions().enumerate().filter(|(_, allow)| allow.names(path)).map(|(number, _)| number).collect(),
        }
    }

    fn exceptions(&self) -> impl Iterator<Item = &Allow> {
        self.engine.rules.iter().flat_map(|rule| &rule.allow).chain(&self.engine.allow)
    }
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
