//! Where a credential's value comes from: exactly one of four keys says it. The value itself is in no manifest.

use std::path::PathBuf;

use bottle_contract::Untrusted;
use serde::Serialize;

use super::host_path::{self, Base};
use super::{env, raw};
use crate::suggest;
use crate::yaml::{At, Problem};

/// Where a credential's value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    /// A variable of the host's environment, by the name of the token.
    #[default]
    Variable,
    /// A file.
    File(PathBuf),
    /// What a program prints, which runs outside of the bottle.
    Command(Vec<String>),
    /// The login of a provider's own program.
    Login(Login),
}

/// The login of a program, on the operator's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Login {
    /// The provider.
    pub provider: String,
    /// The file.
    pub file: PathBuf,
    /// Where in it the token is, as a JSON pointer.
    pub token: String,
    /// Where in it the end of its life is.
    pub expires: Option<String>,
    /// What renews it.
    pub renew: Option<String>,
}

/// The name that a token goes by in plans and messages, and its source.
pub(super) fn read(raw: &At<raw::Auth>, base: Base<'_>) -> Result<(String, TokenSource), Problem> {
    match &raw.value {
        raw::Auth { token_ref: Some(name), token_file: None, token_command: None, login: None, .. } => {
            Ok((env::token_ref(name)?, TokenSource::Variable))
        }
        raw::Auth { token_file: Some(path), token_ref: None, token_command: None, login: None, .. } => {
            let file = host_path::file(path, base)?;
            Ok((file.to_string_lossy().into_owned(), TokenSource::File(file)))
        }
        raw::Auth { token_command: Some(words), token_ref: None, token_file: None, login: None, .. } => {
            let command = command(words)?;
            Ok((command.join(" "), TokenSource::Command(command)))
        }
        raw::Auth { login: Some(provider), token_ref: None, token_file: None, token_command: None, .. } => {
            let login = login(provider, base)?;
            Ok((format!("login {}", login.provider), TokenSource::Login(login)))
        }
        raw::Auth { token_ref: None, token_file: None, token_command: None, login: None, .. } => {
            let hint = "write `token_ref`, the name of a variable, or `token_file`, `token_command` or `login`";
            Err(raw.problem("a credential that comes from nowhere", hint))
        }
        _ => {
            Err(raw
                .problem("a credential that comes from several places", "keep one of `token_ref`, `token_file`, `token_command`, `login`"))
        }
    }
}

/// The program by its name or from the root: what it is must not depend on where bottle is started.
fn command(words: &At<Vec<At<String>>>) -> Result<Vec<String>, Problem> {
    const HINT: &str = "write it as in [gh, auth, token]";
    let Some(program) = words.value.first().filter(|program| !program.value.is_empty()) else {
        return Err(words.problem("`token_command` names no program", HINT));
    };
    if program.value.contains('/') && !program.value.starts_with('/') {
        return Err(program.problem("a relative path of a program", "write its name, which PATH finds, or its path from the root"));
    }
    if let Some(word) = words.value.iter().find(|word| word.value.chars().any(char::is_control)) {
        return Err(word.problem("a control character in an argument", HINT));
    }
    Ok(words.value.iter().map(|word| word.value.clone()).collect())
}

fn login(provider: &At<String>, base: Base<'_>) -> Result<Login, Problem> {
    let known = base.logins.into_iter().flatten();
    let Some((name, login)) = known.clone().find(|(name, _)| **name == provider.value) else {
        let hint = suggest::among(&provider.value, known.map(|(name, _)| name.as_str()), "providers with a login are");
        return Err(provider.problem(format!("`{}` has no login that is known", Untrusted::new(&provider.value)), hint));
    };
    let Some(home) = base.home else {
        return Err(provider.problem("no home directory is known", "set HOME"));
    };
    Ok(Login {
        provider: name.clone(),
        file: home.join(&login.file),
        token: login.token.clone(),
        expires: login.expires.clone(),
        renew: login.renew.clone(),
    })
}
