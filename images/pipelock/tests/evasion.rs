//! The corpus of evasions and of harmless messages, each through the door as a request of its own, and each by its name.

#[path = "../../../tests/cases/evasion/mod.rs"]
mod corpus;
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
#[path = "it/support/mod.rs"]
mod support;

use bottle_scan::BOTTLE_SECRET;
use corpus::{benign, encodings, keys, tokens};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt;
use libtest_mimic::{Arguments, Failed, Trial};
use support::origin::text;
use support::sibling::{Body, empty, full, get, once};
use support::{Origin, Pipelock, SECRET, config_for};
use tokio::runtime::Builder;

/// The fewest of each kind: fewer would be a corpus that lost some.
const FEWEST: usize = 250;

/// Where in a request something hidden is put, if it can stand there.
type Place = (&'static str, fn(&[u8]) -> Option<Request<Body>>);

const PLACES: &[Place] = &[
    ("in a path", |hidden| target(b"https://a.test/v1/", hidden, b"/x")),
    ("in a query", |hidden| target(b"https://a.test/search?page=1&q=", hidden, b"&n=2")),
    ("in a header", |hidden| {
        let value = HeaderValue::from_bytes(hidden).ok()?;
        Some(get("https://a.test/x").header("x-note", value).body(empty()).unwrap())
    }),
    ("in JSON", |hidden| {
        let body = [br#"{"model":"m","text":""#, hidden, br#""}"#].concat();
        serde_json::from_slice::<serde_json::Value>(&body).ok()?;
        Some(post("application/json", body))
    }),
    ("in a body", |hidden| Some(post("application/octet-stream", [b"see below\n\n", hidden, b"\n"].concat()))),
];

fn target(before: &[u8], hidden: &[u8], after: &[u8]) -> Option<Request<Body>> {
    if hidden.contains(&b'#') {
        return None; // what is behind it, no client sends
    }
    let uri = Uri::from_maybe_shared([before, hidden, after].concat()).ok()?;
    Some(Request::get(uri).body(empty()).unwrap())
}

fn post(content_type: &str, body: Vec<u8>) -> Request<Body> {
    Request::post("https://a.test/x").header("content-type", content_type).body(full(body)).unwrap()
}

/// An origin that sends back what it got, and a door to it of this case's own: no other case's pieces are remembered there.
async fn door() -> (Origin, Pipelock) {
    let origin = Origin::start(false, async |request| {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(text(body))
    });
    let origin = origin.await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    (origin, pipelock)
}

/// Whether it may stand in a URL (RFC 3986, section 2). A target with anything else may be refused for that, before it is scanned.
fn is_of_a_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// It is refused for the secret in it, by a rule that is meant for it, and nothing arrives.
async fn refused(rules: &str, request: Request<Body>) -> Result<(), Failed> {
    let (origin, pipelock) = door().await;
    let of_a_url = request.uri().to_string().bytes().all(is_of_a_url);
    let read = once(&pipelock, request).await;
    let event = pipelock.event().await;
    let reason = event.reason.map_or("none", |reason| reason.slug());
    match (read.head.status.as_u16(), reason, origin.count()) {
        (422, "secret_detected", 0) if rules.split('|').any(|rule| event.rule.as_deref() == Some(rule)) => Ok(()),
        (400, "malformed_request" | "ambiguous_target", 0) if !of_a_url => Ok(()),
        other => Err(format!("status, reason and requests that arrived: {other:?}; rule: {:?}, not {rules}", event.rule).into()),
    }
}

/// It arrives as it is, and what is sent back as well.
async fn passed(message: Vec<u8>) -> Result<(), Failed> {
    let (_origin, pipelock) = door().await;
    let content_type = if message.starts_with(b"{") { "application/json" } else { "application/octet-stream" };
    let read = once(&pipelock, post(content_type, message.clone())).await;
    match read.head.status.as_u16() {
        200 if read.body == message => Ok(()),
        200 => Err("it did not arrive as it was".into()),
        status => Err(format!("{status}: {}", String::from_utf8_lossy(&read.body)).into()),
    }
}

fn case<F>(name: String, run: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result<(), Failed>>,
{
    Trial::test(name, move || Builder::new_current_thread().enable_all().build()?.block_on(run()))
}

fn evasions() -> Vec<Trial> {
    let kinds = tokens::all(23);
    let of_vendors = encodings::all().into_iter().enumerate().map(|(number, encoding)| {
        let token = &kinds[number % kinds.len()];
        (encoding, token.name, token.rule, token.value.as_bytes())
    });
    let own = encodings::all().into_iter().chain(encodings::of_known());
    let own = own.map(|encoding| (encoding, "the bottle's own secret", BOTTLE_SECRET, SECRET.as_bytes()));
    let mut cases = Vec::new();
    for ((encoding, encode), kind, rules, secret) in of_vendors.chain(own) {
        let hidden = encode(secret);
        for (place, request) in PLACES {
            if let Some(request) = request(&hidden) {
                cases.push(case(format!("evasion: {kind}, {encoding}, {place}"), move || refused(rules, request)));
            }
        }
    }
    cases
}

/// Private keys as tools print them.
fn private_keys() -> Vec<Trial> {
    let rules = "private-key|private-key-lines|private-key-head|openssh-private-key";
    let kinds = keys::all(29);
    let frames = keys::FRAMES.iter().enumerate();
    let cases = frames.map(|(number, (frame, around))| {
        let key = &kinds[number % kinds.len()];
        let framed = around(&key.pem);
        let content_type = if framed.starts_with('{') { "application/json" } else { "text/plain" };
        let request = post(content_type, framed.into_bytes());
        case(format!("evasion: private key, {}, {frame}", key.name), move || refused(rules, request))
    });
    cases.collect()
}

fn harmless() -> Vec<Trial> {
    benign::all(5).into_iter().map(|(name, message)| case(format!("harmless: {name}"), || passed(message))).collect()
}

// covers: D01 D02 D09 Y07 A01
fn main() {
    let (mut cases, harmless) = (evasions(), harmless());
    assert!(cases.len() >= FEWEST && harmless.len() >= FEWEST, "only {} and {}", cases.len(), harmless.len());
    cases.extend(private_keys());
    cases.extend(harmless);
    libtest_mimic::run(&Arguments::from_args(), cases).exit();
}
