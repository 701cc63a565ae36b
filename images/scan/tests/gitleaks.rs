//! A file in gitleaks' shape, as an operator has one, beside the built-in rules.

use bottle_scan::{Fingerprints, Rules, Scanner};

/// Everything that such files use: titles and tags, global and own exceptions, conditions, targets, groups, entropy, a
/// keyword outside of the expression, Go's syntax for flags.
const FILE: &str = r#"
title = "acme's rules"
minVersion = "v8.25.0"

[extend]
useDefault = true

[[allowlists]]
description = "samples of the handbook"
regexes = ['''acme_test_[a-z0-9]+''']
stopwords = ["samplesample"]

[[allowlists]]
targetRules = ["acme-session"]
condition = "AND"
commits = ["4b825dc642cb6eb9a060e54bf8d69288fbee4904"]
regexes = ['''.''']

[[rules]]
id = "acme-token"
description = "An access token of acme's internal services"
regex = '''(?i)\b(acme_(?:live|test)_[a-z0-9]{24})\b'''
keywords = ["acme_"]
entropy = 3.2
tags = ["internal", "token"]
  [[rules.allowlists]]
  regexTarget = "line"
  regexes = ['''docs\.acme\.test''']

[[rules]]
id = "acme-session"
description = "A session, known by what is written near it"
regex = '''\bs-([0-9a-f]{40})\b'''
secretGroup = 1
keywords = ["acme-login"]

[[rules]]
id = "acme-keyfile"
regex = '''.{20,}'''
path = '''(^|/)acme\.key$'''
  [rules.allowlist]
  paths = ['''^testdata/''']
"#;

fn scanner() -> Scanner {
    let rules = Rules::built_in().unwrap().beside(Rules::from_toml(FILE).unwrap());
    Scanner::with_rules(rules, Fingerprints::default()).unwrap()
}

fn rule(text: &str) -> Option<String> {
    scanner().scan(text.as_bytes()).map(|finding| finding.rule)
}

const TOKEN: &str = "acme_live_k3v9x2m7q8w1z5r4t6y0b2n8";
const SESSION: &str = "s-3f786850e387550fdab836ed7e6dc881de23001b";

// covers: Y04
#[test]
fn the_files_rules_count_beside_the_built_in_ones() {
    assert_eq!(rule(&format!("key: {TOKEN}")).as_deref(), Some("acme-token"));
    assert_eq!(rule(&format!("{{\"t\": \"{}\"}}", TOKEN.to_uppercase())).as_deref(), Some("acme-token"));
    assert_eq!(rule(&format!("key: {TOKEN} # gitleaks:allow")).as_deref(), Some("acme-token"), "an agent's mark");
    assert_eq!(rule("key: acme_live_aaaaaaaaaaaaaaaaaaaaaaaa"), None, "less entropy than the rule asks for");
    let aws = format!("AKIA{}", "QWERTYUIOPASDFGH");
    assert_eq!(rule(&format!("id = {aws}")).as_deref(), Some("aws-access-key-id"));
}

#[test]
fn a_keyword_outside_of_the_expression_may_stand_anywhere() {
    let far = "lorem ipsum ".repeat(5000);
    assert_eq!(rule(&format!("acme-login {far} {SESSION}")).as_deref(), Some("acme-session"));
    assert_eq!(rule(&format!("{SESSION} {far} ACME-LOGIN")).as_deref(), Some("acme-session"));
    assert_eq!(rule(&format!("{far} {SESSION}")), None);
}

#[test]
fn the_files_exceptions_hold_for_its_own_rules_alone() {
    assert_eq!(rule("key: acme_test_k3v9x2m7q8w1z5r4t6y0b2n8"), None);
    assert_eq!(rule("key: acme_live_k3v9samplesamplet6y0b2n8"), None);
    assert_eq!(rule(&format!("see docs.acme.test, {TOKEN}")), None);
    assert_eq!(rule(&format!("see docs.acme.test\n{TOKEN}")).as_deref(), Some("acme-token"));
    // An exception that asks for a commit as well never holds: what is sent is part of none.
    assert_eq!(rule(&format!("acme-login {SESSION}")).as_deref(), Some("acme-session"));
    let aws = format!("AKIA{}", "QWERTYUIOPASDFGH");
    assert_eq!(rule(&format!("acme_test_x samplesample docs.acme.test {aws}")).as_deref(), Some("aws-access-key-id"));
}

#[test]
fn a_rule_of_a_path_asks_for_a_file_of_that_name() {
    let text = b"0123456789012345678901234";
    let file = |path: &str| scanner().scan_file(path, text).map(|finding| finding.rule);
    assert_eq!(file("etc/acme.key").as_deref(), Some("acme-keyfile"));
    assert_eq!(file("testdata/acme.key"), None);
    assert_eq!(file("acme.key.md"), None);
    assert_eq!(scanner().scan(text), None);
}

// covers: D13
#[test]
fn what_cannot_be_honoured_is_refused_with_its_name() {
    let error = |text: &str| Rules::from_toml(text).map(drop).unwrap_err();
    for (text, word) in [
        ("[extend]\npath = 'other.toml'", "`extend.path`"),
        ("[extend]\ndisabledRules = ['github-pat']", "`github-pat`"),
        ("[[rules]]\nid = 'a'\nregex = '('", "line 2: rule `a`"),
        ("[[rules]]\nid = 'a'\nregex = 'a'\nsecretGroup = 2", "secretGroup is 2"),
        ("[[rules]]\nid = 'a'", "neither `regex` nor `path`"),
        ("[[rules]]\nid = 'a'\nregex = 'a'\n[rules.allowlist]\ncondition = 'XOR'", "`XOR`"),
        ("[[allowlists]]\ntargetRules = ['b']\nregexes = ['x']", "`b`"),
        ("[[rules]\nid = 'a'", "line 1"),
    ] {
        let told = error(text);
        assert!(told.contains(word), "{text}: {told}");
    }
}
