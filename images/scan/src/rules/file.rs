//! A rule file: its TOML shape, and what makes one invalid.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};
use serde::Deserialize;
use std::sync::OnceLock;

use super::validate::Check;
use super::{Allow, Boundary, REACH, Rule, Rules, Target, compile};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    rules: Vec<RuleText>,
    #[serde(default)]
    allowlist: Option<AllowText>,
    #[serde(default)]
    allowlists: Vec<AllowText>,
    #[serde(default)]
    extend: Option<ExtendText>,
}

/// What a file builds on. `useDefault` changes nothing, as the built-in rules always count.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExtendText {
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    disabled_rules: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleText {
    id: toml::Spanned<String>,
    #[serde(default)]
    regex: Option<String>,
    #[serde(default)]
    keywords: Vec<String>,
    #[serde(default)]
    entropy: Option<f64>,
    #[serde(default)]
    secret_group: Option<usize>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    allowlist: Option<AllowText>,
    #[serde(default)]
    allowlists: Vec<AllowText>,
    #[serde(default)]
    anchored: bool,
    #[serde(default)]
    boundary: Option<String>,
    #[serde(default)]
    validate: Option<String>,
    #[serde(default)]
    confirm: Option<String>,
    #[serde(default)]
    run: Option<(usize, usize)>,
    #[serde(default)]
    block: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AllowText {
    #[serde(default)]
    condition: Option<String>,
    #[serde(default)]
    regex_target: Option<String>,
    #[serde(default)]
    regexes: Vec<String>,
    #[serde(default)]
    stopwords: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    target_rules: Vec<String>,
    #[serde(default)]
    commits: Vec<String>,
}

impl Rules {
    /// Reads a rule file. An error names the line, or the rule, and what is wrong with it. Every expression's syntax is checked; none is
    /// compiled yet.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        read(text)
    }
}

fn read(text: &str) -> Result<Rules, String> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        format!("line {line}: {}", error.message())
    })?;
    if let Some(extend) = file.extend {
        if extend.path.is_some() || extend.url.is_some() {
            return Err("`extend.path` and `extend.url` are not followed: name the other file beside this one".to_owned());
        }
        if let Some(id) = extend.disabled_rules.first() {
            return Err(format!("`extend.disabledRules` names `{id}`: no file can turn off a built-in rule"));
        }
    }
    let mut rules = Vec::with_capacity(file.rules.len());
    for rule in file.rules {
        let (id, line) = (rule.id.get_ref().clone(), 1 + text[..rule.id.span().start].matches('\n').count());
        rules.push(one(rule).map_err(|error| format!("line {line}: rule `{id}`: {error}"))?);
    }
    let mut allow = Vec::new();
    for text in file.allowlist.into_iter().chain(file.allowlists) {
        if text.target_rules.is_empty() {
            allow.push(exception(&text)?);
        }
        for target in &text.target_rules {
            let rule = rules.iter_mut().find(|rule| rule.id == *target);
            rule.ok_or_else(|| format!("an allowlist names the rule `{target}`, which this file does not have"))?
                .allow
                .push(exception(&text)?);
        }
    }
    Ok(Rules { rules, allow })
}

fn one(text: RuleText) -> Result<Rule, String> {
    let check = |name: &Option<String>| match name {
        None => Ok(None),
        Some(name) => Check::named(name).map(Some).ok_or_else(|| format!("there is no check `{name}`")),
    };
    if text.regex.is_none() && text.path.is_none() {
        return Err("it has neither `regex` nor `path`".to_owned());
    }
    let source = text.regex.unwrap_or_default();
    let measure = measure(&source)?;
    if text.secret_group.is_some_and(|group| group > measure.groups) {
        return Err(format!("secretGroup is {}, but the expression has {} groups", text.secret_group.unwrap_or(0), measure.groups));
    }
    if let Some(short) = text.keywords.iter().find(|keyword| keyword.is_empty()) {
        return Err(format!("the keyword {short:?} is empty"));
    }
    let boundary = match text.boundary.as_deref() {
        None => Boundary::Any,
        Some("word") => Boundary::Word,
        Some("run") => Boundary::Run,
        Some(other) => return Err(format!("there is no boundary `{other}`")),
    };
    let far = measure.most.unwrap_or(REACH).min(REACH);
    Ok(Rule {
        id: text.id.into_inner(),
        source,
        compiled: OnceLock::new(),
        keywords: text.keywords,
        anchored: text.anchored,
        boundary,
        entropy: text.entropy.filter(|&least| least > 0.0),
        secret_group: text.secret_group.filter(|&group| group > 0),
        path: text.path.as_deref().map(|path| compile(path, false)).transpose()?,
        validate: check(&text.validate)?,
        confirm: check(&text.confirm)?,
        run: text.run,
        is_block: text.block,
        allow: text.allowlist.iter().chain(&text.allowlists).map(exception).collect::<Result<_, _>>()?,
        least: measure.least,
        alphabet: measure.alphabet,
        reach: (if text.anchored { 0 } else { far }, far),
    })
}

/// What an expression's syntax alone tells.
struct Measure {
    least: usize,
    most: Option<usize>,
    groups: usize,
    alphabet: Box<[bool; 256]>,
}

fn measure(source: &str) -> Result<Measure, String> {
    let parse = |unicode: bool| ParserBuilder::new().unicode(unicode).utf8(false).build().parse(source).map_err(|error| error.to_string());
    let hir = parse(false).or_else(|_| parse(true))?;
    let mut alphabet = Box::new([false; 256]);
    letters(&hir, &mut alphabet);
    Ok(Measure {
        least: hir.properties().minimum_len().unwrap_or(0),
        most: hir.properties().maximum_len(),
        groups: hir.properties().explicit_captures_len(),
        alphabet,
    })
}

/// Collects every byte that a match can hold.
fn letters(hir: &Hir, into: &mut [bool; 256]) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => literal.0.iter().for_each(|&b| into[usize::from(b)] = true),
        HirKind::Class(Class::Bytes(class)) => {
            for range in class.iter() {
                into[usize::from(range.start())..=usize::from(range.end())].fill(true);
            }
        }
        HirKind::Class(Class::Unicode(class)) => {
            for range in class.iter() {
                let ascii = |c: char| usize::from(u8::try_from(c).unwrap_or(0x7f).min(0x7f));
                into[ascii(range.start())..=ascii(range.end())].fill(true);
                into[0x80..].fill(true);
            }
        }
        HirKind::Repetition(repetition) => letters(&repetition.sub, into),
        HirKind::Capture(capture) => letters(&capture.sub, into),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().for_each(|part| letters(part, into)),
    }
}

fn exception(text: &AllowText) -> Result<Allow, String> {
    let compiled = |list: &[String]| list.iter().map(|source| compile(source, false)).collect::<Result<Vec<_>, _>>();
    let all_must_hold = match text.condition.as_deref() {
        None | Some("OR" | "or" | "||" | "") => false,
        Some("AND" | "and" | "&&") => true,
        Some(other) => return Err(format!("there is no condition `{other}`")),
    };
    Ok(Allow {
        all_must_hold,
        // What is sent is part of no commit yet.
        never: all_must_hold && !text.commits.is_empty(),
        target: match text.regex_target.as_deref() {
            None | Some("secret" | "") => Target::Secret,
            Some("match") => Target::Match,
            Some("line") => Target::Line,
            Some(other) => return Err(format!("there is no regexTarget `{other}`")),
        },
        regexes: compiled(&text.regexes)?,
        stopwords: text.stopwords.iter().map(|word| word.to_ascii_lowercase()).collect(),
        paths: compiled(&text.paths)?,
    })
}
