//! Values that a plan only names: read from the host or asked for, held briefly, wiped when dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine as _;
use bottle_contract::Untrusted;
use bottle_scan::Fingerprints;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::manifest::model::{EnvValue, TemplatePart};
use crate::manifest::token::TokenSource;
use crate::plan::Plan;

/// The values of one start.
pub struct Values {
    /// The agent's variables, complete.
    pub env: Vec<(String, Zeroizing<String>)>,
    /// The tokens, by the host's variable that holds them.
    pub tokens: BTreeMap<String, Zeroizing<String>>,
    /// By which the bottle's secrets are recognised, and from which they cannot be read.
    pub fingerprints: Option<bottle_contract::Fingerprints>,
}

impl Values {
    /// For a look at the host only, and for when the values were handed over.
    pub fn nothing() -> Self {
        Self { env: Vec::new(), tokens: BTreeMap::new(), fingerprints: None }
    }
}

/// Asks a person for a value, with this prompt.
pub type Ask<'a> = &'a mut dyn FnMut(&str) -> Result<Zeroizing<String>>;

/// Reads a file that holds a secret.
pub type Read<'a> = &'a dyn Fn(&Path) -> io::Result<Zeroizing<String>>;

/// Gets a token that is in no variable: from a file, a program, or a login.
pub type Fetch<'a> = &'a mut dyn FnMut(&TokenSource) -> Result<Zeroizing<String>>;

/// Reads and asks for all values. `host` looks a variable up, `read` a file; without `ask` there is nobody to ask.
pub fn resolve(
    plan: &Plan,
    host: &dyn Fn(&str) -> Option<String>,
    read: Read<'_>,
    fetch: Fetch<'_>,
    mut ask: Option<Ask<'_>>,
) -> Result<Values> {
    let mut tokens = BTreeMap::new();
    for secret in plan.sidecars.iter().flat_map(|s| &s.secrets) {
        let name = &secret.token_ref;
        if secret.is_file {
            tokens.insert(name.clone(), identity(name, read)?);
            continue;
        }
        let value = match &secret.source {
            TokenSource::Variable => host(name).map(Zeroizing::new).filter(|v| !v.trim().is_empty()).ok_or_else(|| {
                let what = format!("the token `{name}` is not set");
                let obtain = secret.obtain.as_ref().map(|obtain| format!(" ({obtain})")).unwrap_or_default();
                Error::usage(what, "a route's `token_ref` names this variable", format!("export {name}=…, then start again{obtain}"))
            })?,
            source => fetch(source)?,
        };
        if value.trim().chars().any(|c| c.is_control()) {
            let what = format!("the token `{name}` cannot be sent in a header");
            return Err(Error::usage(what, "it holds a line break or another control character", "export the token alone, on one line"));
        }
        tokens.insert(name.clone(), Zeroizing::new(value.trim().to_owned()));
    }
    let mut env = Vec::new();
    for (name, value) in &plan.agent.env {
        env.push((name.clone(), variable(name, value, host, &mut ask)?));
    }
    let mut key = [0; 32];
    rand::fill(&mut key)
        .map_err(|_| Error::failed("cannot make a random key", "the system gave no random bytes", "see if getrandom works here"))?;
    let secrets: Vec<&[u8]> = tokens.values().map(|v| v.as_bytes()).collect();
    let fingerprints = Some(Fingerprints::of(key, &secrets).into());
    Ok(Values { env, tokens, fingerprints })
}

/// Notes on tokens that no sidecar can recognise in traffic, as they are too short or too plain: for the preflight. They
/// name the token and never its value. A token that is not set is not judged.
pub fn weak_tokens(plan: &Plan, host: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let secrets = plan.sidecars.iter().flat_map(|s| &s.secrets);
    let secrets = secrets.filter(|secret| !secret.is_file && secret.source == TokenSource::Variable);
    let names: BTreeSet<&str> = secrets.map(|secret| secret.token_ref.as_str()).collect();
    let weak = |name: &str| {
        let value = host(name).map(Zeroizing::new).filter(|value| !value.trim().is_empty())?;
        let why = Fingerprints::weak(value.trim().as_bytes())?;
        Some(format!("the token {name} is not recognised when it leaves the bottle: {why}"))
    };
    names.into_iter().filter_map(weak).collect()
}

/// A private key for SSH, which must be one that can be used without a person.
fn identity(path: &str, read: Read<'_>) -> Result<Zeroizing<String>> {
    let shown = Untrusted::new(path);
    let hint = "name a private key without a passphrase under `identity`, as `ssh-keygen -t ed25519 -N ''` makes one";
    let failed = |cause: String| Error::usage(format!("the SSH identity `{shown}` cannot be used"), cause, hint);
    let text = read(Path::new(path)).map_err(|error| failed(error.to_string()))?;
    if !text.contains("-----BEGIN ") || !text.contains("PRIVATE KEY-----") {
        return Err(failed("it is no private key".to_owned()));
    }
    if is_locked(&text) {
        return Err(failed("it has a passphrase".to_owned()));
    }
    Ok(text)
}

/// True for a key with a passphrase: PEM says so in words, OpenSSH's own format in the name of the cipher behind its
/// magic (PROTOCOL.key).
fn is_locked(key: &str) -> bool {
    let body: String = key.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let bytes = Zeroizing::new(base64::engine::general_purpose::STANDARD.decode(body).unwrap_or_default());
    let cipher = bytes.strip_prefix(b"openssh-key-v1\0\0\0\0").and_then(|rest| rest.split_first());
    key.contains("ENCRYPTED") || cipher.is_some_and(|(length, rest)| rest.get(..usize::from(*length)) != Some(b"none"))
}

fn variable(name: &str, value: &EnvValue, host: &dyn Fn(&str) -> Option<String>, ask: &mut Option<Ask<'_>>) -> Result<Zeroizing<String>> {
    match value {
        EnvValue::Ask(prompt) => match ask {
            Some(ask) => ask(prompt),
            None => Err(Error::usage(
                format!("the variable `{name}` must be asked for"),
                "there is no terminal to ask at",
                format!("start it at a terminal, or write `{name}: ${{{name}}}` in the bottle and set the variable"),
            )),
        },
        EnvValue::Template(parts) => {
            let mut text = Zeroizing::new(String::new());
            for part in parts {
                match part {
                    TemplatePart::Text(literal) => text.push_str(literal),
                    TemplatePart::Host(from) => text.push_str(&Zeroizing::new(host(from).ok_or_else(|| {
                        let what = format!("the variable `{from}` is not set");
                        Error::usage(what, format!("the bottle fills it in for `{name}`"), format!("export {from}=…, then start again"))
                    })?)),
                }
            }
            Ok(text)
        }
    }
}
