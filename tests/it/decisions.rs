//! `bottle explain` and `bottle check`: decisions, after the fact and before it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bottle::commands::{Format, allow, check, explain};

use bottle::manifest;
use bottle::store::Claim;
use bottle::timeline::{Opening, Timeline};
use bottle_contract::Reason;
use bottle_contract::event::{Event, Level};
use bottle_scan::{Fingerprints, Scanner};
use serde_json::{Value, json};

use crate::support::{layout, memory};

fn event(id: &str, slug: &str, edit: impl FnOnce(&mut Event)) -> Event {
    let mut event = Event::new("2026-11-21T10:00:00.000Z".into(), Level::Info, slug);
    event.request_id = Some(id.into());
    edit(&mut event);
    event
}

#[test]
fn a_request_is_explained_from_whichever_bottle_has_it() {
    let (disk, memory) = (tempfile::tempdir().unwrap(), memory());
    let layout = layout(disk.path(), memory.path());
    for bottle in ["other", "web"] {
        let claim = Claim::new(&layout, bottle, None).unwrap();
        let opening = Opening { bottle, boot_id: "b", plan: "p" };
        let mut timeline = Timeline::create(claim.state(), &opening).unwrap();
        timeline
            .append("egress", &event("1-1", "request", |e| (e.method, e.path) = (Some("GET".into()), Some(format!("/{bottle}")))))
            .unwrap();
        if bottle == "web" {
            let refused = |rule: Option<&str>| {
                let rule = rule.map(str::to_owned);
                move |e: &mut Event| {
                    (e.reason, e.rule, e.origin) = (Some(Reason::SecretDetected), rule.clone(), Some("https://api.test".into()));
                    (e.place, e.status) = (rule.map(|_| "body@1834".into()), Some(422));
                }
            };
            timeline.append("pipelock", &event("7-7", "refused", refused(Some("github-pat")))).unwrap();
            timeline.append("egress", &event("7-7", "refused", refused(None))).unwrap();
        }
        timeline.close(&BTreeMap::new()).unwrap();
    }
    let ask = |id: &str, bottle: Option<&str>, format| {
        let mut out = Vec::new();
        let args = explain::Args { request_id: id.into(), bottle: bottle.map(str::to_owned), format };
        explain::run(&args, &layout, &mut out).map(|code| (code, String::from_utf8(out).unwrap())).map_err(|error| (error.code, error.what))
    };
    let (code, text) = ask("7-7", None, Format::Text).unwrap();
    assert_eq!(code, 0);
    let expected = format!(
        "request 7-7, bottle web\n\
         \x20 asked      (a method that is not repeated) https://api.test, answered by 2026-11-21T10:00:00.000Z\n\
         \x20 pipelock   refused it: secret_detected\n\
         \x20            by the rule github-pat\n\
         \x20            for what stands in the body, byte 1834\n\
         \x20            status 422\n\
         \x20 egress     refused it: secret_detected\n\
         \x20            status 422\n\
         \x20 verdict    refused by pipelock: secret_detected\n\
         \x20 agent may  {}\n\
         \x20 you may    look for what the agent was about to send; `bottle check --body FILE` tells what is found in a file\n",
        Reason::SecretDetected.hint()
    );
    assert_eq!(text, expected);
    let (_, json) = ask("7-7", Some("web"), Format::Json).unwrap();
    let shown: Value = serde_json::from_str(&json).unwrap();
    let summary: Vec<&Value> = ["bottle", "verdict", "component", "reason", "rule", "place"].iter().map(|key| &shown[key]).collect();
    assert_eq!(json!(summary), json!(["web", "refused", "pipelock", "secret_detected", "github-pat", "body@1834"]));
    assert_eq!(shown["records"].as_array().unwrap().len(), 2);
    // Two bottles may have a request of one name: both are told.
    let (_, both) = ask("1-1", None, Format::Text).unwrap();
    assert_eq!(both.lines().filter(|line| line.starts_with("request 1-1, bottle ")).count(), 2);
    assert_eq!(ask("7-7", Some("other"), Format::Text), Err((1, "there is no record of the request `7-7`".into())));
    assert_eq!(ask("../x", None, Format::Text), Err((2, "`../x` is not a request id".into())));
}

/// An operator's configuration with one bottle, and a repository beside it.
struct Scene {
    config: tempfile::TempDir,
    repo: tempfile::TempDir,
}

const BOTTLE: &str = "---\negress:\n  routes:\n    - host: api.test\n      matches: [{ methods: [GET, POST], paths: [/v1/] }]\n      \
                      auth: { token_ref: API_TOKEN }\nscan: { rules: [mine.toml], answers: true }\n---\n";
const RULES: &str = "[[rules]]\nid = 'acme-token'\nregex = '''acme_live_[a-z0-9]{24}'''\nkeywords = ['acme_live_']\n";

impl Scene {
    fn new() -> Self {
        let scene = Self { config: tempfile::tempdir().unwrap(), repo: tempfile::tempdir().unwrap() };
        for (name, text) in
            [("bottles/b.md", BOTTLE), ("bottles/mine.toml", RULES), ("agents/a.md", "---\nbottle: b\nprovider: shell\n---\n")]
        {
            let file = scene.config.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        scene
    }

    fn check(&self, args: &[&str]) -> Result<(u8, String), String> {
        self.check_with("kT93-vQx7-operators-own-token", args)
    }

    /// The same, with this token.
    fn check_with(&self, token: &str, args: &[&str]) -> Result<(u8, String), String> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: check::Args,
        }
        let line = <Line as clap::Parser>::try_parse_from(["check"].iter().chain(args)).map_err(|error| error.to_string())?;
        let library = || manifest::load(self.config.path(), None, Some(self.repo.path()));
        let host = |name: &str| (name == "API_TOKEN").then(|| token.to_owned());
        let mut out = Vec::new();
        let code = check::run(&line.args, &library, &host, &mut out).map_err(|error| error.to_string())?;
        Ok((code, String::from_utf8(out).unwrap()))
    }
}

#[test]
fn a_request_is_judged_without_being_sent() {
    let scene = Scene::new();
    let allowed = scene.check(&["https://api.test/v1/%78", "--agent", "a"]);
    let expected = "  allowed    GET https://api.test/v1/x\n  route      api.test\n  with       API_TOKEN in `authorization`\n  listed as  api.test\n  \
                    then       the name would be resolved, and each of its addresses judged\n";
    assert_eq!(allowed, Ok((0, expected.to_owned())));
    let reason = |args: &[&str]| {
        let (code, text) = scene.check(&[args, &["--agent", "a", "--format", "json"]].concat()).unwrap();
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert!(!text.contains("acme_live_"), "{text}");
        (code, format!("{} {} {}", shown["component"], shown["reason"], shown["rule"]).replace('"', ""))
    };
    assert_eq!(reason(&["https://api.test/v2"]), (1, "egress path_not_allowed api.test".into()));
    assert_eq!(reason(&["https://api.test/v1/", "--method", "DELETE"]), (1, "egress method_not_allowed api.test".into()));
    assert_eq!(reason(&["https://evil.test/"]), (1, "egress host_not_listed null".into()));
    assert_eq!(reason(&["https://api.test/v1/?t=kT93-vQx7-operators-own-token"]), (1, "pipelock secret_detected bottle-secret".into()));
    let key = "acme_live_k3v9x2m7q8w1z5r4t6y0b2n8";
    assert_eq!(reason(&[&format!("https://api.test/v1/{key}")]), (1, "pipelock secret_detected acme-token".into()));
    let body = scene.repo.path().join("body.json");
    fs::write(&body, format!("{{\"parts\": [\"{}\", \"{}\"]}}", &key[..20], &key[20..])).unwrap();
    assert_eq!(reason(&["https://api.test/v1/", "--body", body.to_str().unwrap()]), (1, "pipelock secret_detected acme-token".into()));
    fs::write(&body, "{\"parts\": [\"nothing\"]}").unwrap();
    assert_eq!(reason(&["https://api.test/v1/", "--body", body.to_str().unwrap()]), (0, "null null null".into()));
}

// covers: A43
#[test]
fn a_token_that_is_not_recognised_is_told_by_name() {
    let scene = Scene::new();
    let ask = |token: &str, format: &str| {
        scene.check_with(token, &["https://api.test/v1/x", "--agent", "a", "--format", format]).map(|(_, text)| text)
    };
    let note = |why: &str| format!("the token API_TOKEN is not recognised when it leaves the bottle: {why}");
    let short = note("it is shorter than 8 bytes, so it would be found in harmless text");
    let plain = note("it is a common word or repeats the same few characters, so it would be found in harmless text");
    for (token, note) in [("s3cr3t7", Some(&short)), (" s3cr3t7\n", Some(&short)), ("postgres", Some(&plain)), ("s3cr3t78", None)] {
        let text = ask(token, "text").unwrap();
        let notes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  note       ")).collect();
        assert_eq!(notes, note.map(String::as_str).into_iter().collect::<Vec<_>>(), "{token:?}");
        let json: Value = serde_json::from_str(&ask(token, "json").unwrap()).unwrap();
        assert_eq!(json["notes"], note.map_or(Value::Null, |note| json!([note])), "{token:?}");
        assert!(!text.contains(token.trim()));
    }
}

// covers: D13
#[test]
fn a_rule_file_that_cannot_be_honoured_is_an_error_before_anything_starts() {
    let scene = Scene::new();
    let file = scene.config.path().join("bottles/mine.toml");
    let ask = || scene.check(&["https://api.test/v1/", "--agent", "a"]).unwrap_err();
    fs::write(&file, "[[rules]]\nid = 'x'\nregex = '('\n").unwrap();
    assert!(ask().contains("mine.toml cannot be used\ncause: line 2: rule `x`"), "{}", ask());
    fs::remove_file(&file).unwrap();
    assert!(ask().contains("No such file"), "{}", ask());
    fs::create_dir(&file).unwrap();
    assert!(ask().contains("not a regular file"), "{}", ask());
    // A repository's agent cannot name rules: only a bottle has the key, and no bottle comes from a repository.
    let agents = scene.repo.path().join(".bottle/agents");
    fs::create_dir_all(&agents).unwrap();
    fs::write(agents.join("r.md"), "---\nbottle: offline\nprovider: shell\nscan: { rules: [x.toml] }\n---\n").unwrap();
    let error = scene.check(&["https://api.test/", "--agent", "r"]).unwrap_err();
    assert!(error.contains("unknown key `scan`"), "{error}");
}

fn authority(directory: &Path) -> String {
    let made = bottle::ca::Authority::generate("bottle test", std::time::SystemTime::now()).unwrap();
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("cert.pem"), &made.cert_pem).unwrap();
    fs::write(directory.join("key.pem"), made.key_pem.as_bytes()).unwrap();
    made.cert_pem
}

#[test]
fn a_configuration_of_the_door_is_read_with_everything_that_it_names() {
    let scene = Scene::new();
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("config")).unwrap();
    let file = place.path().join("config/pipelock.yaml");
    let yaml = "version: 1\nmode: strict\nenforce: true\napi_allowlist: [api.test, '*.cdn.test']\nforward_proxy: { enabled: true }\n\
                fetch_proxy: { listen: 'pipelock:8888' }\ntls_interception: { enabled: true, ca_cert: /run/bottle/ca/cert.pem, ca_key: /run/bottle/ca/key.pem }\n\
                request_body_scanning: { enabled: true, action: block }\nresponse_scanning: { enabled: false }\ndlp: { include_defaults: true }\n\
                ssrf: { ip_allowlist: [] }\nsentry: { enabled: false }\n";
    fs::write(&file, yaml).unwrap();
    let path = file.to_str().unwrap().to_owned();
    let error = |text: &str| {
        fs::write(&file, text).unwrap();
        scene.check(&["--config", &path]).unwrap_err()
    };
    assert!(error(yaml).contains("`ca_cert`: No such file"), "{}", error(yaml));
    authority(&place.path().join("ca"));
    fs::write(&file, yaml).unwrap();
    assert_eq!(scene.check(&["--config", &path]), Ok((0, "good: it lists api.test, *.cdn.test\n".into())));
    assert_eq!(scene.check(&["--config", &path, "https://x.cdn.test/a"]).unwrap().0, 0);
    assert_eq!(scene.check(&["--config", &path, "https://other.test/a"]).unwrap().0, 1);
    assert!(error(&yaml.replace("mode: strict", "mode: audit")).contains("`mode` must be `strict`"));
    assert!(error(&yaml.replace("sentry", "sentri")).contains("line 12"), "{}", error(&yaml.replace("sentry", "sentri")));
    assert!(error(&format!("{yaml}mode: strict\n")).contains("duplicate"), "{}", error(&format!("{yaml}mode: strict\n")));
    // A key of another authority does not belong to the certificate.
    authority(&place.path().join("other"));
    fs::copy(place.path().join("other/key.pem"), place.path().join("ca/key.pem")).unwrap();
    assert!(error(yaml).contains("does not belong to its certificate"));
}

// covers: V04
#[test]
fn the_file_that_holds_a_value_is_named_and_nothing_is_allowed_unless_a_person_types_it() {
    // Of no vendor's: only its shape is that of a key.
    const TOKEN: &str = "AKIAQ7XW2MVB5ZT4RK6L";
    let (disk, memory, tree) = (tempfile::tempdir().unwrap(), memory(), tempfile::tempdir().unwrap());
    fs::create_dir(tree.path().join("tests")).unwrap();
    fs::write(tree.path().join("tests/keys.env"), format!("KEY={TOKEN}\n")).unwrap();
    let layout = layout(disk.path(), memory.path());
    let mut claim = Claim::new(&layout, "web", None).unwrap();
    claim
        .update(|metadata| {
            metadata.directory = Some(tree.path().to_owned());
            metadata.agent = "implementer".to_owned();
        })
        .unwrap();
    let scanner = Scanner::new(Fingerprints::default()).unwrap();
    let known = scanner.tell(TOKEN.as_bytes(), &scanner.scan(TOKEN.as_bytes()).unwrap()).1.unwrap();
    let opening = Opening { bottle: "web", boot_id: "b", plan: "p" };
    let mut timeline = Timeline::create(claim.state(), &opening).unwrap();
    let refused = |e: &mut Event| {
        (e.reason, e.rule, e.place) =
            (Some(Reason::SecretDetected), Some("aws-access-key-id".into()), Some("body.messages[3].content".into()));
        (e.masked, e.digest) = (Some(known.masked.clone()), known.digest.clone());
    };
    timeline.append("pipelock", &event("7-7", "refused", refused)).unwrap();
    let own = |e: &mut Event| {
        (e.reason, e.rule, e.masked) = (Some(Reason::SecretDetected), Some("bottle-secret".into()), Some("… (38 bytes)".into()))
    };
    timeline.append("pipelock", &event("8-8", "refused", own)).unwrap();
    timeline.close(&BTreeMap::new()).unwrap();

    let mut out = Vec::new();
    explain::run(&explain::Args { request_id: "7-7".into(), bottle: None, format: Format::Text }, &layout, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("for what stands in the field `messages[3].content` of the body\n"), "{text}");
    assert!(text.ends_with("  file       tests/keys.env holds the value\n") && !text.contains(TOKEN), "{text}");

    let library = manifest::load(&layout.config, None, None).unwrap();
    let allow = |id: &str| {
        let args =
            allow::Args { hosts: vec![], agent: None, read_only: false, bottle: None, time: None, uses: None, finding: Some(id.into()) };
        allow::run(&args, &layout, &|| Ok(library.clone()), &mut Vec::new()).unwrap_err().cause
    };
    assert_eq!(allow("7-7"), "nobody can be asked: standard input or output is not a terminal");
    assert!(allow("8-8").starts_with("it is one of the bottle's own"));
    assert_eq!(allow("9-9"), "no timeline names it");
    assert!(!layout.config.exists(), "nothing was written");
}
