//! Environment variables: their names, and the three forms of their values.

use std::collections::BTreeMap;

use bottle_contract::Untrusted;

use super::measure;
use super::model::{EnvValue, TemplatePart};
use crate::yaml::{At, Problem};

/// A variable's name as a regular expression, for the JSON Schema (POSIX.1-2024, section 8.1, with lower case).
pub const PATTERN: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// Variables that bottle itself sets, or that would make a program bypass the proxy or the bottle's certificate authority.
/// Compared case-insensitively, because programs read the proxy variables in both cases.
///
/// Absent on purpose: `PATH` and `HOME`, which weaken nothing.
const RESERVED: [&str; 24] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "NODE_USE_ENV_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
    "NIX_SSL_CERT_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_NO_VERIFY",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// Prefixes of such variables: bottle's own, and the dynamic linker's (ld.so(8)).
const RESERVED_PREFIXES: [&str; 2] = ["BOTTLE_", "LD_"];

/// True when `name` may name a variable.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// True when a manifest may not set `name`.
pub fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Reads a bottle's variables.
pub fn read(env: &BTreeMap<String, At<String>>) -> Result<BTreeMap<String, EnvValue>, Problem> {
    env.iter().map(|(name, text)| Ok((name.clone(), variable(name, text)?))).collect()
}

fn variable(name: &str, text: &At<String>) -> Result<EnvValue, Problem> {
    if !is_name(name) {
        let what = format!("`{}` is not a variable's name", Untrusted::new(name));
        return Err(text.problem(what, "a name is letters, digits and underscores, and does not start with a digit"));
    }
    if is_reserved(name) {
        let what = format!("the variable `{name}` is bottle's own");
        return Err(text.problem(what, "remove it: bottle sets what the agent needs to reach its proxy and to trust it"));
    }
    if text.value.contains('\0') {
        return Err(text.problem(format!("the value of `{name}` has a NUL"), "variables cannot contain one"));
    }
    if text.value.len() > measure::MAX_ARGUMENT_BYTES {
        return Err(text.problem(format!("the value of `{name}` is too long"), measure::ARGUMENT_HINT));
    }
    match text.value.strip_prefix('?') {
        None => Ok(EnvValue::Template(template(name, text)?)),
        Some(prompt) if prompt.trim().is_empty() || prompt.chars().any(char::is_control) => {
            Err(text.problem(format!("the prompt of `{name}` is not one line of text"), "write what to ask for: ?npm token"))
        }
        Some(prompt) => Ok(EnvValue::Ask(prompt.trim().to_owned())),
    }
}

/// Splits at `${NAME}`. A lone dollar sign is an error, because its meaning is ambiguous.
fn template(name: &str, text: &At<String>) -> Result<Vec<TemplatePart>, Problem> {
    let wrong = || {
        text.problem(
            format!("the value of `{name}` has a `$` that is not part of a `${{NAME}}`"),
            "write `$$` for a dollar sign, `${NAME}` for the host's variable",
        )
    };
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text.value.as_str();
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        if let Some(behind) = after.strip_prefix('$') {
            plain.push('$');
            rest = behind;
            continue;
        }
        let (host, behind) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')).ok_or_else(wrong)?;
        if !is_name(host) {
            return Err(wrong());
        }
        if !plain.is_empty() {
            parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
        }
        parts.push(TemplatePart::Host(host.to_owned()));
        rest = behind;
    }
    plain.push_str(rest);
    if !plain.is_empty() || parts.is_empty() {
        parts.push(TemplatePart::Text(plain));
    }
    Ok(parts)
}

/// Reads the name of the variable that contains a credential. A text that looks like the credential itself is refused without
/// being quoted, because names appear in plans and messages.
pub fn token_ref(text: &At<String>) -> Result<String, Problem> {
    let name = &text.value;
    if !is_name(name) || looks_like_a_secret(name) {
        return Err(text.problem(
            "`token_ref` is not the name of a variable",
            "write the name of the environment variable that holds the token, as in GITHUB_TOKEN; never the token itself",
        ));
    }
    Ok(name.clone())
}

/// Names are short; tokens are long, and mix lower case with digits.
fn looks_like_a_secret(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    name.len() > 64 || (name.len() >= 20 && digits >= 4 && name.bytes().any(|b| b.is_ascii_lowercase()))
}

/// True when a variable of this name usually contains a credential.
pub fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "PRIVATE_KEY", "ACCESS_KEY", "CREDENTIAL"]
        .iter()
        .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> At<String> {
        At { value: value.to_owned(), line: 4, column: 7 }
    }

    fn host(name: &str) -> TemplatePart {
        TemplatePart::Host(name.into())
    }

    fn plain(text: &str) -> TemplatePart {
        TemplatePart::Text(text.into())
    }

    #[test]
    fn a_value_is_a_text_a_template_or_a_question() {
        for (value, expected) in [
            ("debug", EnvValue::Template(vec![plain("debug")])),
            ("", EnvValue::Template(vec![plain("")])),
            ("no", EnvValue::Template(vec![plain("no")])),
            ("${EDITOR}", EnvValue::Template(vec![host("EDITOR")])),
            ("a${B}c${D}", EnvValue::Template(vec![plain("a"), host("B"), plain("c"), host("D")])),
            ("$${B} costs 5$$", EnvValue::Template(vec![plain("${B} costs 5$")])),
            ("$$${B}", EnvValue::Template(vec![plain("$"), host("B")])),
            ("line\nline", EnvValue::Template(vec![plain("line\nline")])),
            ("?npm token", EnvValue::Ask("npm token".into())),
            ("a?b", EnvValue::Template(vec![plain("a?b")])),
        ] {
            assert_eq!(variable("X", &text(value)), Ok(expected), "{value:?}");
        }
    }

    #[test]
    fn a_value_with_two_readings_is_refused_and_not_quoted() {
        for value in ["$HOME", "hunter2$", "${}", "${A", "${A-b}", "${1}", "$ {A}", "$(id)", "?", "?  ", "?a\nb", "a\0hunter2"] {
            let problem = variable("X", &text(value)).unwrap_err();
            assert_eq!((problem.line, problem.column), (4, 7), "{value:?}");
            assert!(!problem.what.contains("hunter2") && !problem.hint.contains("hunter2"), "{problem:?}");
        }
    }

    #[test]
    fn a_variable_that_would_weaken_the_bottle_is_refused() {
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "Https_Proxy",
            "no_proxy",
            "ALL_PROXY",
            "SSL_CERT_FILE",
            "NODE_EXTRA_CA_CERTS",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "GIT_SSL_CAINFO",
            "GIT_SSL_NO_VERIFY",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "BOTTLE_ID",
            "LISTEN_FDS",
        ] {
            assert_eq!(variable(name, &text("x")).unwrap_err().what, format!("the variable `{name}` is bottle's own"));
        }
        for name in ["", "1A", "A-B", "A=B", "A B", "Ä", "A\0"] {
            assert!(variable(name, &text("x")).is_err(), "{name:?}");
        }
        for name in ["PATH", "LOG_LEVEL", "MY_HTTP_PROXY_MODE", "OLD_VALUE", "_"] {
            assert!(variable(name, &text("x")).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_token_in_the_place_of_its_name_is_refused_and_not_quoted() {
        for value in [
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "npm_0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f",
            "sk-ant-oat01-xxxxxxxx",
            "",
            "A B",
            "${X}",
        ] {
            let problem = token_ref(&text(value)).unwrap_err();
            assert_eq!(problem.what, "`token_ref` is not the name of a variable");
            assert!(value.is_empty() || !problem.hint.contains(value));
        }
        for name in ["GITHUB_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "my_registry_token", "TOKEN_20260101_A_LONGER_NAME"] {
            assert_eq!(token_ref(&text(name)), Ok(name.to_owned()));
        }
    }
}
