//! From the keys of a provider, as they are written, to a provider: each value is checked where it is written.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use bottle_contract::{HostPattern, Untrusted};

use super::{Argument, Credential, Instructions, Login, Mcp, Provider, Slot, keys};
use crate::manifest::host_path::Base;
use crate::manifest::model::{Auth, Origin, Route};
use crate::manifest::token::TokenSource;
use crate::manifest::{env, measure, route};
use crate::suggest;
use crate::yaml::{At, Problem};

/// Reads a provider.
pub fn read(name: &str, raw: &keys::Provider, origin: Origin) -> Result<Provider, Problem> {
    let routes = raw.routes.as_deref().map_or(Ok(Vec::new()), |rows| route::parse_routes(rows, Base::BUILT_IN))?;
    if let Some(row) = raw.routes.iter().flatten().find(|row| row.value.auth.is_some()) {
        return Err(row.value.host.problem("a credential in a provider's route", "list it under `credentials`"));
    }
    let credentials: Vec<Credential> =
        raw.credentials.iter().flatten().map(|one| credential(&one.value, &routes)).collect::<Result<_, _>>()?;
    let prompt = texts(raw.prompt.as_deref())?.unwrap_or_else(|| vec!["{}".to_owned()]);
    Ok(Provider {
        name: name.to_owned(),
        title: line(&raw.title, "the title")?,
        program: program(&raw.program)?,
        install: raw.install.as_ref().map(|text| line(text, "the text")).transpose()?,
        interactive: raw.interactive.as_deref().map_or(Ok(Vec::new()), arguments)?,
        headless: raw.headless.as_deref().map(arguments).transpose()?,
        headless_prompt: texts(raw.headless_prompt.as_deref())?.unwrap_or_else(|| prompt.clone()),
        prompt,
        stream: texts(raw.stream.as_deref())?.unwrap_or_default(),
        resume: texts(raw.resume.as_deref())?.unwrap_or_default(),
        model: texts(raw.model.as_deref())?.unwrap_or_default(),
        instructions: raw.instructions.as_ref().map_or(Ok(Instructions::Variable), instructions)?,
        mcp: raw.mcp.as_ref().map(|mcp| Ok(Mcp { file: in_home(&mcp.file)?, format: mcp.format.value })).transpose()?,
        skills: raw.skills.as_ref().map(in_home).transpose()?,
        env: raw.env.iter().flatten().map(variable).collect::<Result<_, _>>()?,
        files: raw.files.iter().flatten().map(file).collect::<Result<BTreeMap<_, _>, _>>()?,
        home: raw.home.iter().flatten().map(in_home).collect::<Result<_, _>>()?,
        login: raw.login.as_ref().map(|one| login(&one.value, &credentials)).transpose()?,
        routes,
        credentials,
        origin,
    })
}

/// One line of text for a person.
fn line(text: &At<String>, what: &str) -> Result<String, Problem> {
    let line = text.value.trim();
    if line.is_empty() || line.chars().any(char::is_control) {
        return Err(text.problem(format!("{what} is not one line"), "write a few words"));
    }
    Ok(line.to_owned())
}

fn program(text: &At<String>) -> Result<String, Problem> {
    let name = text.value.as_str();
    if name.is_empty() || name.starts_with('-') || name.chars().any(char::is_control) {
        return Err(text.problem("not a program's name", "write its name, which PATH finds, or its path"));
    }
    if name.contains('/') && !name.starts_with('/') {
        return Err(text.problem("a relative path of a program", "write its name, which PATH finds, or its path from the root"));
    }
    Ok(name.to_owned())
}

fn text(item: &At<String>) -> Result<String, Problem> {
    if item.value.contains('\0') {
        return Err(item.problem("a NUL in an argument", "no program can be given one"));
    }
    if item.value.len() > measure::MAX_ARGUMENT_BYTES {
        return Err(item.problem("an argument is too long", measure::ARGUMENT_HINT));
    }
    Ok(item.value.clone())
}

fn texts(items: Option<&[At<String>]>) -> Result<Option<Vec<String>>, Problem> {
    items.map(|items| items.iter().map(text).collect()).transpose()
}

/// A word in braces that names nothing would reach the program as it stands: an error.
fn arguments(items: &[At<String>]) -> Result<Vec<Argument>, Problem> {
    let argument = |item: &At<String>| {
        let Some(name) = item.value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            return text(item).map(Argument::Text);
        };
        match Slot::NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, slot)) => Ok(Argument::Slot(*slot)),
            None => {
                let hint = suggest::among(name, Slot::NAMES.iter().map(|(known, _)| *known), "known here");
                Err(item.problem(format!("`{{{}}}` stands for nothing", Untrusted::new(name)), hint))
            }
        }
    };
    items.iter().map(argument).collect()
}

fn instructions(raw: &At<keys::Instructions>) -> Result<Instructions, Problem> {
    match &raw.value {
        keys::Instructions::File(path) => in_home(path).map(Instructions::File),
        keys::Instructions::Arguments(items) => {
            let arguments = items.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            if !arguments.iter().any(|argument| argument.contains("{}")) {
                return Err(raw.problem("the arguments have no place for the text", "write `{}` where it goes"));
            }
            Ok(Instructions::Arguments(arguments))
        }
    }
}

/// A path below a home directory.
pub(in crate::manifest) fn in_home(text: &At<String>) -> Result<PathBuf, Problem> {
    let path = Path::new(text.value.strip_prefix("~/").unwrap_or(&text.value));
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || path.as_os_str().is_empty() || text.value.chars().any(char::is_control) {
        return Err(text.problem("not a path below a home directory", "write it as in .config/tool/settings.json, without `..`"));
    }
    Ok(path.to_owned())
}

fn variable((name, value): (&String, &At<String>)) -> Result<(String, String), Problem> {
    if !env::is_name(name) {
        let what = format!("`{}` is not a variable's name", Untrusted::new(name));
        return Err(value.problem(what, "a name is letters, digits and underscores, and does not start with a digit"));
    }
    if env::is_reserved(name) {
        let what = format!("the variable `{name}` is bottle's own");
        return Err(value.problem(what, "remove it: bottle sets what the agent needs to reach its proxy and to trust it"));
    }
    Ok((name.clone(), text(value)?))
}

fn file((path, content): (&String, &At<String>)) -> Result<(PathBuf, String), Problem> {
    let path = in_home(&At { value: path.clone(), line: content.line, column: content.column })?;
    Ok((path, content.value.clone()))
}

fn credential(raw: &keys::Credential, routes: &[Route]) -> Result<Credential, Problem> {
    let mut hosts = Vec::new();
    for name in &raw.hosts {
        let host: HostPattern = name.value.parse().map_err(|error: bottle_contract::host::HostError| {
            name.problem(error.to_string(), "write a host of this provider's `routes`")
        })?;
        if !routes.iter().any(|route| route.host == host) {
            return Err(name.problem("none of this provider's `routes`", "add a route for this host"));
        }
        hosts.push(host);
    }
    if hosts.is_empty() {
        return Err(raw.variable.problem("a credential for no host", "list the hosts that it is for"));
    }
    let (header, scheme) = route::place(raw.header.as_ref(), raw.scheme.as_ref())?;
    let names = raw.also.iter().flatten().map(env::token_ref).collect::<Result<_, _>>()?;
    Ok(Credential {
        auth: Auth { header, scheme, token_ref: env::token_ref(&raw.variable)?, source: TokenSource::Variable },
        hosts,
        placeholder: line(&raw.placeholder, "the placeholder")?,
        also: names,
        obtain: raw.obtain.as_ref().map(|text| line(text, "the text")).transpose()?,
    })
}

fn login(raw: &keys::Login, credentials: &[Credential]) -> Result<Login, Problem> {
    let pointer = |text: &At<String>| match text.value.starts_with('/') {
        true => Ok(text.value.clone()),
        false => Err(text.problem("not a JSON pointer", "write it as in /claudeAiOauth/accessToken")),
    };
    if !credentials.iter().any(|credential| credential.variable() == raw.variable.value) {
        return Err(raw.variable.problem("none of this provider's credentials", "write a `variable` of `credentials`"));
    }
    Ok(Login {
        file: in_home(&raw.file)?,
        token: pointer(&raw.token)?,
        expires: raw.expires.as_ref().map(pointer).transpose()?,
        variable: raw.variable.value.clone(),
        renew: raw.renew.as_ref().map(|text| line(text, "the text")).transpose()?,
    })
}
