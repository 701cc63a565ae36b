//! Manifests: what is read, what is refused, and with which three lines.

use std::path::Path;

use bottle::manifest::library::Source;
use bottle::manifest::model::*;
use bottle::manifest::{Kind, Library};

/// A library of the operator's own files, `(agents/x, text)`.
fn library(files: &[(&str, &str)]) -> Library {
    Library::new(Some(Path::new("/home/u")), files.iter().map(|(path, text)| source("/cfg", path, text)).collect(), Vec::new())
}

fn source(root: &str, path: &str, text: &str) -> Source {
    let (directory, name) = path.split_once('/').unwrap();
    let kind = if directory == "agents" { Kind::Agent } else { Kind::Bottle };
    let file = Path::new(root).join(format!("{path}.md"));
    let origin = if root == "/cfg" { Origin::Home(file) } else { Origin::Repo(file) };
    Source { kind, name: name.to_owned(), origin, content: Ok(text.as_bytes().to_vec()) }
}

/// Resolves an agent in a bottle with this front matter.
fn bottle(yaml: &str) -> Result<Bottle, String> {
    let text = format!("---\n{yaml}\n---\n");
    let files = [("agents/a", "---\nbottle: b\nprovider: shell\n---\nPrompt\n"), ("bottles/b", text.as_str())];
    library(&files).resolve("a").map(|resolved| resolved.bottle).map_err(|error| error.to_string())
}

fn refused(yaml: &str) -> String {
    match bottle(yaml) {
        Ok(bottle) => panic!("accepted: {yaml}\n{bottle:?}"),
        Err(error) => error,
    }
}
#[test]
fn show() {
    for y in [
        "egres: {}",
        "env: {A: b, A: c}",
        "env: [a]",
        "env:\n  A:",
        "egress: {routes: [{host: *.a.test}]}",
        "supervise: yes",
        "limits: {pids: -1}",
        "limits: {memory: 4}",
        "rootfs: hosst",
        "rootfs:",
        "egress: {routes: [{host: a, auth: }]}",
        "egress: {routes: [{host: a, auth: {}}]}",
        "egress: {routes: [{host: a, matches: }]}",
        "a: b: c",
        "supervise: true",
        "git: {repos: [{name: a, upstream: 'https://a.test/x.git'}]}",
        "x: &a [b]\nenv: *a",
    ] {
        println!("{y:?}\n{}\n", refused(y));
    }
}
