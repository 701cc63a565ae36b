//! What the scanner promises its callers, in a few words each.

use bottle_scan::{BOTTLE_SECRET, Finding, Fingerprints, HONEYTOKEN, Rules, Scanner, Weak};

const SECRET: &[u8] = b"q7Xw-2mVb9Zt4Rk8LpHs0Nc5Jy3Gd6Fa1Qe";

fn scanner() -> Scanner {
    Scanner::new(Fingerprints::of([7; 32], &[SECRET]).with_honeytokens(&[b"canary-5d1f7c0b9e"])).unwrap()
}

fn found(scanner: &Scanner, bytes: &[u8]) -> Option<(String, u64, Vec<&'static str>)> {
    scanner.scan(bytes).map(|Finding { rule, offset, encodings }| (rule, offset, encodings))
}

fn github() -> String {
    let body = "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO";
    let mut sum = crc32fast::hash(body.as_bytes());
    let mut tail = Vec::new();
    for _ in 0..6 {
        tail.push(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[sum as usize % 62]);
        sum /= 62;
    }
    tail.reverse();
    format!("ghp_{body}{}", String::from_utf8(tail).unwrap())
}

/// Base64 of `bytes`, unpadded: its length is a multiple of three.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = |three: &[u8]| u32::from_be_bytes([0, three[0], three[1], three[2]]);
    let groups = bytes.chunks_exact(3).map(bits);
    groups.flat_map(|bits| [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(bits >> shift & 63) as usize]))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

// covers: D01
#[test]
fn a_bottles_secret_is_found_anywhere_and_a_neighbour_is_not() {
    let scanner = scanner();
    for before in 0..40 {
        let text = [&vec![b'.'; before][..], SECRET, b" tail"].concat();
        assert_eq!(found(&scanner, &text), Some((BOTTLE_SECRET.to_owned(), before as u64, vec![])));
        let mut other = text;
        other[before + 8] ^= 1;
        other[before + 24] ^= 1;
        assert_eq!(found(&scanner, &other), None);
    }
}

// covers: D14
#[test]
fn a_honeytoken_has_a_rule_of_its_own() {
    assert_eq!(found(&scanner(), b"x=canary-5d1f7c0b9e"), Some((HONEYTOKEN.to_owned(), 2, vec![])));
}

#[test]
fn a_rule_is_found_plain_and_below_layers() {
    let scanner = scanner();
    let token = github();
    assert_eq!(found(&scanner, format!("a {token}").as_bytes()), Some(("github-pat".into(), 2, vec![])));
    assert_eq!(found(&scanner, format!("a {}", hex(token.as_bytes())).as_bytes()), Some(("github-pat".into(), 2, vec!["hex"])));
    let percent: String = token.bytes().map(|b| format!("%{b:02X}")).collect();
    assert_eq!(found(&scanner, format!("a {percent}").as_bytes()), Some(("github-pat".into(), 2, vec!["percent"])));
    let twice = percent.replace('%', "%25");
    assert_eq!(found(&scanner, format!("a {twice}").as_bytes()), Some(("github-pat".into(), 2, vec!["percent", "percent"])));
}

#[test]
fn a_weak_secret_is_left_out_and_says_why() {
    assert_eq!(Fingerprints::weak(b"short"), Some(Weak::TooShort));
    assert_eq!(Fingerprints::weak(b"aaaaaaaaaaaa"), Some(Weak::TooPlain));
    assert_eq!(Fingerprints::weak(b"password"), Some(Weak::TooPlain));
    assert_eq!(Fingerprints::weak(SECRET), None);
    assert!(Fingerprints::of([0; 32], &[b"short", b"aaaaaaaaaaaa"]).is_empty());
}

#[test]
fn fingerprints_travel_as_json_without_the_secret() {
    let made = Fingerprints::of([7; 32], &[SECRET]);
    let json = serde_json::to_string(&made).unwrap();
    assert_eq!(serde_json::from_str::<Fingerprints>(&json).unwrap(), made);
    assert!(!json.contains("q7Xw") && !json.contains("Jy3G"));
    assert!(!format!("{made:?}").contains("q7Xw"));
    assert!(serde_json::from_str::<Fingerprints>(&json.replacen("\"kind\":0", "\"kind\":99", 1)).map(Scanner::new).unwrap().is_err());
}

// covers: D13
#[test]
fn an_invalid_rule_file_is_an_error_that_names_the_line() {
    let error = |text: &str| Rules::from_toml(text).unwrap_err();
    assert!(error("\n[[rules]]\nid = 'a'\nregex = '(a'\n").starts_with("line 3: rule `a`: "));
    assert!(error("[[rules]]\nid = 'a'\nregex = 'a'\nsecretGroup = 1\n").starts_with("line 2: rule `a`: secretGroup is 1"));
    assert!(error("[[rules]]\nid = 'a'\nregex = 'a'\nvalidate = 'magic'\n").contains("there is no check `magic`"));
    assert!(error("[[rules]]\nid = 'a'\nregex = 5\n").starts_with("line 3: "));
    assert!(error("[[rules]]\nid = 'a'\n").contains("neither `regex` nor `path`"));
    assert!(error("title = 'x'\n\n= 3").starts_with("line 3: "));
}

#[test]
fn a_users_rules_stand_beside_the_built_in_ones() {
    let own = Rules::from_toml(
        r#"
[[rules]]
id = "acme"
regex = '''acme_[a-z]{8}'''
keywords = ["acme_"]
[[rules.allowlists]]
stopwords = ["sample"]
[[rules]]
id = "nowhere"
regex = '''zz-\d{12}'''
"#,
    )
    .unwrap();
    let scanner = Scanner::with_rules(Rules::built_in().unwrap().and(own), Fingerprints::default()).unwrap();
    assert_eq!(scanner.scan(b"- acme_abcdefgh").map(|f| f.rule).as_deref(), Some("acme"));
    assert_eq!(scanner.scan(b"- acme_samplexx"), None);
    assert_eq!(scanner.scan(b"- zz-123456789012").map(|f| f.rule).as_deref(), Some("nowhere"));
    assert_eq!(scanner.scan(github().as_bytes()).map(|f| f.rule).as_deref(), Some("github-pat"));
}

#[test]
fn any_cut_of_a_stream_gives_the_same_answer() {
    let scanner = scanner();
    let text = format!("{} {} {}", "benign text, ".repeat(20), github(), "more ".repeat(10));
    let whole = scanner.scan(text.as_bytes());
    assert!(whole.is_some());
    for cut in 0..text.len() {
        let mut stream = scanner.stream();
        stream.push(&text.as_bytes()[..cut]);
        stream.push(&text.as_bytes()[cut..]);
        assert_eq!(stream.finish(), whole, "cut at {cut}");
    }
}

// covers: D06
#[test]
fn a_secret_behind_any_number_of_bytes_is_found() {
    let scanner = scanner();
    let mut text = b"lorem ipsum dolor sit amet 0123 ".repeat(300_000);
    for place in [0, 100, 131_050, 131_072, 131_080, 262_130, 1_000_000, 8 << 20, (8 << 20) + 1] {
        let saved = text[place..place + SECRET.len()].to_vec();
        text[place..place + SECRET.len()].copy_from_slice(SECRET);
        assert_eq!(found(&scanner, &text), Some((BOTTLE_SECRET.to_owned(), place as u64, vec![])));
        text[place..place + SECRET.len()].copy_from_slice(&saved);
    }
}

// covers: D01 D08
#[test]
fn a_secret_split_over_a_messages_values_is_found() {
    let scanner = scanner();
    let (a, b) = std::str::from_utf8(SECRET).unwrap().split_at(17);
    for (content_type, body, view) in [
        ("application/json", format!(r#"{{"parts":["{a}","{b}"]}}"#), "json values"),
        ("application/json", format!(r#"{{"x":"{a}","x":"{b}"}}"#), "json values"),
        ("application/vnd.api+json", format!(r#"{{"{a}":1,"{b}":2}}"#), "json keys"),
        ("application/x-www-form-urlencoded", format!("a={a}&b={b}"), "form values"),
        ("multipart/form-data; boundary=b", format!("--b\r\nA: b\r\n\r\n{a}\r\n--b\r\n\r\n{b}\r\n--b--"), "multipart fields"),
        ("multipart/form-data", format!("--b\r\nA: b; filename*0={a}; filename*1={b}\r\n\r\nx\r\n--b--"), "multipart parameters"),
        ("text/html", format!("<p>{a}<b>{b}</b></p>"), "xml text"),
    ] {
        assert_eq!(scanner.scan(body.as_bytes()), None, "{body}");
        let finding = Finding { rule: BOTTLE_SECRET.to_owned(), offset: 0, encodings: vec![view] };
        assert_eq!(scanner.scan_message(Some(content_type), body.as_bytes()), Some(finding), "{body}");
    }
}

// covers: D02
#[test]
fn a_token_deep_in_a_picture_is_found_at_every_alignment() {
    let scanner = scanner();
    // Bytes of no text: what is long and random, as a picture is.
    let noise = |seed: u32, length: u32| (0..length).map(move |i| ((i ^ seed).wrapping_mul(0x9e37_79b9) >> 24) as u8 | 0x80);
    for shift in 0..4 {
        for length in [20_000, 200_000] {
            let token = github();
            let mut bytes: Vec<u8> = noise(3, length).chain(token.bytes()).chain(noise(5, 30_000)).collect();
            bytes.truncate(bytes.len() / 3 * 3);
            let text = format!("\"{}{}\"", "/".repeat(shift), base64(&bytes));
            let expected = Some(("github-pat".to_owned(), 1, vec!["base64"]));
            assert_eq!(found(&scanner, text.as_bytes()).map(|(rule, _, layers)| (rule, 1, layers)), expected, "{length} behind {shift}");
        }
    }
}
