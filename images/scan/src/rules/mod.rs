//! Rules as data: gitleaks' TOML shape, read into what the engine needs.

mod file;
mod private_key;
pub(crate) mod validate;

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};

use validate::Check;

/// The rules that come with us.
const BUILT_IN: &str = include_str!("../../rules.toml");

/// The most that a rule may look at around a keyword, in bytes; the overlap of streamed windows is made from it.
pub(crate) const REACH: usize = 2048;

/// Rules, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Rules {
    pub(crate) rules: Vec<Rule>,
    /// Exceptions for every rule of a file.
    pub(crate) allow: Vec<Allow>,
}

/// What a match must not touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// Nothing is asked.
    Any,
    /// A letter, a digit, or one of `+_-`.
    Word,
    /// A long run of the base64 alphabet on both sides.
    Run,
}

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) source: String,
    compiled: OnceLock<Option<Regex>>,
    pub(crate) keywords: Vec<String>,
    pub(crate) anchored: bool,
    pub(crate) boundary: Boundary,
    pub(crate) entropy: Option<f64>,
    pub(crate) secret_group: Option<usize>,
    pub(crate) path: Option<Regex>,
    pub(crate) validate: Option<Check>,
    pub(crate) confirm: Option<Check>,
    /// Lengths of the runs of letters and digits at which a rule without keywords is tried.
    pub(crate) run: Option<(usize, usize)>,
    /// A match is the beginning of a block of lines, all of which are the secret.
    pub(crate) is_block: bool,
    pub(crate) allow: Vec<Allow>,
    /// The fewest bytes of a match, and which bytes it can consist of: what is asked before the expression is.
    pub(crate) least: usize,
    pub(crate) alphabet: Box<[bool; 256]>,
    /// How far before and after a keyword a match may reach.
    pub(crate) reach: (usize, usize),
}

/// An exception that the operator wrote.
#[derive(Clone, Debug)]
pub(crate) struct Allow {
    all_must_hold: bool,
    never: bool,
    target: Target,
    regexes: Vec<Regex>,
    stopwords: Vec<String>,
    paths: Vec<Regex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Secret,
    Match,
    Line,
}

/// What was found, for exceptions to be asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) whole: (usize, usize),
    pub(crate) secret: (usize, usize),
    pub(crate) path: Option<&'a str>,
}

impl Rules {
    /// The built-in rules.
    pub fn built_in() -> Result<Self, String> {
        Self::from_toml(BUILT_IN)
    }

    /// These rules, then `more`; of two rules with one id, the later one counts.
    pub fn and(mut self, more: Self) -> Self {
        self.rules.retain(|rule| more.rules.iter().all(|other| other.id != rule.id));
        self.rules.extend(more.rules);
        self.allow.extend(more.allow);
        self
    }

    /// These rules as they are, and the operator's beside them, with the meaning that gitleaks gives them: a rule takes
    /// the place of none, whatever its id; an exception of their file holds for them alone; and a keyword that is no part
    /// of the expression may stand anywhere in the text.
    pub fn beside(mut self, theirs: Self) -> Self {
        self.rules.extend(theirs.rules.into_iter().map(|mut rule| {
            rule.allow.extend(theirs.allow.iter().cloned());
            let source = rule.source.to_ascii_lowercase();
            if rule.keywords.iter().any(|word| !source.contains(&word.to_ascii_lowercase())) {
                rule.reach = (usize::MAX, usize::MAX);
            }
            rule
        }));
        self
    }

    /// The ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.id.as_str())
    }
}

impl Rule {
    /// The expression, compiled when it is first needed.
    pub(crate) fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| compile(&self.source, self.anchored).ok()).as_ref()
    }

    /// False when a match that begins at `at` is out of the question.
    pub(crate) fn may_begin(&self, bytes: &[u8], at: usize) -> bool {
        (self.boundary != Boundary::Word || !ends_in_word(&bytes[..at]))
            && bytes.get(at..at + self.least).is_some_and(|text| text.iter().take(24).all(|&b| self.alphabet[usize::from(b)]))
    }

    /// The rule's judgement of one match.
    pub(crate) fn holds(&self, found: &Match<'_>) -> bool {
        let secret = &found.bytes[found.secret.0..found.secret.1];
        let behind = &found.bytes[found.secret.1..found.bytes.len().min(found.secret.1 + REACH)];
        if !self.boundary_holds(found) || self.validate.is_some_and(|check| !check.holds(secret, behind)) {
            return false;
        }
        let confirmed = self.confirm.is_some_and(|check| check.holds(secret, behind));
        (confirmed || self.entropy.is_none_or(|least| crate::entropy::entropy(secret) >= least))
            && !self.allow.iter().any(|allow| allow.holds(found))
    }

    fn boundary_holds(&self, found: &Match<'_>) -> bool {
        let (before, after) = (&found.bytes[..found.whole.0], &found.bytes[found.whole.1..]);
        match self.boundary {
            Boundary::Any => true,
            Boundary::Word => !ends_in_word(before) && !after.first().is_some_and(|&b| is_word(b) && b != b'/'),
            Boundary::Run => {
                const DEEP: usize = 40;
                let left = before.iter().rev().take(DEEP).take_while(|&&b| is_word(b)).count();
                let right = after.iter().take(DEEP).take_while(|&&b| is_word(b)).count();
                left < DEEP || right < DEEP
            }
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-')
}

/// True when the text ends in the middle of a word. The letter of `\n`, `\t` and the like, and the digits of `%20` and
/// `\u0022`, belong to the escape and not to the word.
fn ends_in_word(text: &[u8]) -> bool {
    match text {
        [.., b'\\', b'n' | b't' | b'r' | b'b' | b'f'] => false,
        [.., b'%', h, l] if h.is_ascii_hexdigit() && l.is_ascii_hexdigit() => false,
        [.., b'\\', b'u', a, b, c, d] if [a, b, c, d].iter().all(|b| b.is_ascii_hexdigit()) => false,
        [.., b'/'] => false,
        [.., last] => is_word(*last),
        [] => false,
    }
}

impl Allow {
    pub(crate) fn has_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    pub(crate) fn names(&self, path: &str) -> bool {
        self.paths.iter().any(|regex| regex.is_match(path.as_bytes()))
    }

    pub(crate) fn holds(&self, found: &Match<'_>) -> bool {
        let text = match self.target {
            Target::Secret => &found.bytes[found.secret.0..found.secret.1],
            Target::Match => &found.bytes[found.whole.0..found.whole.1],
            Target::Line => {
                let start = memchr::memrchr(b'\n', &found.bytes[..found.whole.0]).map_or(0, |at| at + 1);
                let end = memchr::memchr(b'\n', &found.bytes[found.whole.1..]).map_or(found.bytes.len(), |at| found.whole.1 + at);
                &found.bytes[start..end]
            }
        };
        let lower = found.bytes[found.secret.0..found.secret.1].to_ascii_lowercase();
        let mut answers = Vec::new();
        if !self.regexes.is_empty() {
            answers.push(self.regexes.iter().any(|regex| regex.is_match(text)));
        }
        if !self.stopwords.is_empty() {
            answers.push(self.stopwords.iter().any(|word| memchr::memmem::find(&lower, word.as_bytes()).is_some()));
        }
        if !self.paths.is_empty() {
            answers.push(found.path.is_some_and(|path| self.names(path)));
        }
        !self.never && if self.all_must_hold { !answers.is_empty() && answers.iter().all(|&a| a) } else { answers.contains(&true) }
    }
}

/// Bytes need no Unicode tables: `\w` and `\b` mean ASCII, as they do in Go, whose syntax the files are written in.
fn compile(source: &str, anchored: bool) -> Result<Regex, String> {
    let source = if anchored { format!("^(?:{source})") } else { source.to_owned() };
    let build = |unicode: bool| RegexBuilder::new(&source).unicode(unicode).size_limit(32 << 20).dfa_size_limit(8 << 20).build();
    build(false).or_else(|_| build(true)).map_err(|error| error.to_string())
}
