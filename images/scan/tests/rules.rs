//! Every built-in rule finds what its own expression describes.

#[path = "../../../tests/cases/evasion/dice.rs"]
mod dice;

use bottle_scan::{Fingerprints, Rules, Scanner};
use dice::Dice;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Text that the expression matches.
fn sample(hir: &Hir, dice: &mut Dice, out: &mut Vec<u8>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.extend_from_slice(&literal.0),
        HirKind::Class(class) => {
            let Class::Bytes(class) = class else { panic!("a class of characters") };
            // What is excluded by a class is what surrounds a token: a colon stands for all of it.
            let bytes: Vec<u8> = class.iter().flat_map(|range| range.start()..=range.end()).collect();
            out.push(if bytes.len() > 100 { b':' } else { *dice.one(&bytes) });
        }
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min + 4).min(repetition.min + 4);
            for _ in 0..repetition.min + dice.below((most - repetition.min) as usize + 1) as u32 {
                sample(&repetition.sub, dice, out);
            }
        }
        HirKind::Capture(capture) => sample(&capture.sub, dice, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| sample(part, dice, out)),
        HirKind::Alternation(parts) => sample(dice.one(parts), dice, out),
    }
}

/// Rules whose checks chance does not pass: the other tests have samples of them.
const CHECKED: [&str; 11] = [
    "private-key-lines",
    "private-key-head",
    "jwt",
    "docker-config-auth",
    "card-number",
    "iban",
    "bip32-private-key",
    "bitcoin-wif",
    "database-url",
    "crates-io-token",
    "netlify-token",
];

#[test]
fn every_rule_finds_samples_of_itself() {
    let text = include_str!("../rules.toml");
    let table: toml::Table = text.parse().unwrap();
    let rules = table["rules"].as_array().unwrap();
    assert!(rules.len() >= 60);
    let all = Scanner::new(Fingerprints::default()).unwrap();
    let mut failed = Vec::new();
    for rule in rules {
        let (id, regex) = (rule["id"].as_str().unwrap(), rule["regex"].as_str().unwrap());
        if CHECKED.contains(&id) {
            continue;
        }
        let alone = toml::Table::from_iter([("rules".to_owned(), toml::Value::Array(vec![rule.clone()]))]);
        let alone = Scanner::with_rules(Rules::from_toml(&alone.to_string()).unwrap(), Fingerprints::default()).unwrap();
        let hir = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(regex).unwrap();
        for seed in 0..40 {
            let mut token = Vec::new();
            sample(&hir, &mut Dice::new(seed), &mut token);
            let message = [b"{\"key\":\"", &token[..], b"\"}"].concat();
            let found = alone.scan(&message).map(|f| f.rule);
            if found.as_deref() != Some(id) || all.scan(&message).is_none() {
                failed.push(format!("{id}: {:?} {found:?}", String::from_utf8_lossy(&token)));
                break;
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn checked_values_are_found_and_their_neighbours_are_not() {
    let scanner = Scanner::new(Fingerprints::default()).unwrap();
    let rule = |text: &str| scanner.scan(text.as_bytes()).map(|f| f.rule);
    // Checksums are computed here or published with the format; none of these was ever issued.
    let card = "card_number: 4539 1488 0343 6467";
    assert_eq!(rule(card).as_deref(), Some("card-number"));
    assert_eq!(rule(&card.replace("6467", "6468")), None);
    assert_eq!(rule("IBAN: SE45 5000 0000 0583 9825 7466").as_deref(), Some("iban"));
    assert_eq!(rule("IBAN: SE45 5000 0000 0583 9825 7467"), None);
    // The sample of the wallet import format's own description.
    assert_eq!(rule("key 5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ").as_deref(), Some("bitcoin-wif"));
    assert_eq!(rule("key 5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTK"), None);
    assert_eq!(rule("postgres://app:kR7vX2mQ9pLz4Tn8@db.host.test/x").as_deref(), Some("database-url"));
    assert_eq!(rule("postgres://app:correct-horse@db.host.test/x"), None);
    assert_eq!(rule(r#"{"auths":{"r.test":{"auth":"dXNlcjpzM2NyZXRwYXNzd29yZA=="}}}"#).as_deref(), Some("docker-config-auth"));
    let spaced = format!(r#"{{"auths":{{"r.test":{{"auth"{0}:{0}"dXNlcjpzM2NyZXRwYXNzd29yZA=="}}}}}}"#, " ".repeat(40));
    assert_eq!(rule(&spaced).as_deref(), Some("docker-config-auth"));
    assert_eq!(rule(r#"{"auth":"c29tZSB0ZXh0IHdpdGggc3BhY2Vz"}"#), None);
}

// covers: Y06
#[test]
fn a_value_is_judged_by_itself_so_a_proxy_can_leave_out_what_it_injected() {
    let token = "ya29.".to_owned() + &Dice::new(1).text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", 60);
    let scanner = Scanner::new(Fingerprints::of([1; 32], &[token.as_bytes()])).unwrap();
    let injected = format!("Bearer {token}");
    let sent = ["accept: */*", "user-agent: x"];
    assert!(sent.iter().all(|header| scanner.scan(header.as_bytes()).is_none()));
    assert!(scanner.scan(injected.as_bytes()).is_some());
}
