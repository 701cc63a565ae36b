//! Parses the repositories behind `git-gate`.

use bottle_contract::gate::PushPolicy;
use bottle_contract::remote::{RemoteUrl, Scheme};

use super::host_path::{self, Base};
use super::model::{Author, Repo};
use super::{measure, raw, route};
use crate::yaml::{At, Problem};

/// Host key algorithms that SSH servers have (RFC 8709, RFC 5656, RFC 8332, and OpenSSH's PROTOCOL.u2f).
const KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Reads a bottle's repositories.
pub fn read(git: &raw::Git, base: Base<'_>) -> Result<Vec<Repo>, Problem> {
    let mut repos: Vec<Repo> = Vec::new();
    for raw in git.repos.iter().flatten() {
        let repo = repo(&raw.value, base)?;
        if repos.iter().any(|other| other.name == repo.name) {
            return Err(raw.value.name.problem("two repositories of this name", "each needs its own name at the gate"));
        }
        repos.push(repo);
    }
    Ok(repos)
}

fn repo(raw: &raw::Repo, base: Base<'_>) -> Result<Repo, Problem> {
    let upstream = upstream(&raw.upstream)?;
    let ssh = upstream.scheme != Scheme::Https;
    match (ssh, &raw.host_key, &raw.identity) {
        (true, None, _) => {
            return Err(raw
                .upstream
                .problem("an SSH upstream without `host_key`", "add the server's public key: nothing is trusted on first use"));
        }
        (true, _, None) => return Err(raw.upstream.problem("an SSH upstream without `identity`", "add the path of the private key")),
        (false, Some(key), _) | (false, _, Some(key)) => {
            return Err(key.problem("a key for an upstream that is not SSH", "remove it, or write the upstream as ssh://…"));
        }
        _ => {}
    }
    if let (true, Some(auth)) = (ssh, &raw.auth) {
        return Err(auth.problem("a token for an upstream over SSH", "remove it, or write the upstream as https://…"));
    }
    Ok(Repo {
        name: name(&raw.name)?,
        upstream,
        identity: raw.identity.as_ref().map(|path| host_path::file(path, base)).transpose()?,
        host_key: raw.host_key.as_ref().map(host_key).transpose()?,
        auth: raw.auth.as_ref().map(|raw| route::auth(raw, base)).transpose()?,
        connect: raw.connect.as_ref().map(route::address).transpose()?,
        push: raw.push.as_ref().map_or(Ok(PushPolicy::default()), push)?,
        other_committers: raw.push.as_ref().is_some_and(|push| push.other_committers),
    })
}

fn push(raw: &raw::Push) -> Result<PushPolicy, Problem> {
    let usual = PushPolicy::default();
    let size = |text: &At<String>| measure::size(&text.value).ok_or_else(|| text.problem("not a size", measure::SIZE_HINT));
    let objects = |count: &At<u64>| match count.value {
        0 => Err(count.problem("a limit of zero objects", "write at least 1, or remove the key")),
        count => Ok(count),
    };
    Ok(PushPolicy {
        allow: raw.allow.iter().flatten().map(ref_pattern).collect::<Result<_, _>>()?,
        create: raw.create,
        update: raw.update,
        force: raw.force,
        delete: raw.delete,
        options: raw.options,
        // Set when the plan is built.
        committer: None,
        pack_bytes: raw.size.as_ref().map_or(Ok(usual.pack_bytes), size)?,
        objects: raw.objects.as_ref().map_or(Ok(usual.objects), objects)?,
    })
}

/// Reads the identity of the agent's commits.
pub fn author(raw: &raw::Author) -> Result<Author, Problem> {
    let plain = |text: &At<String>| {
        let fits = !text.value.trim().is_empty() && !text.value.chars().any(|c| c.is_control() || matches!(c, '<' | '>' | '"' | '\\'));
        if fits { Ok(text.value.trim().to_owned()) } else { Err(text.problem("not a valid name or address for git", "write plain text")) }
    };
    Ok(Author { name: plain(&raw.name)?, email: plain(&raw.email)? })
}

fn name(text: &At<String>) -> Result<String, Problem> {
    let name = text.value.as_str();
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !plain || name.len() > 64 || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || name.contains("..") || name.ends_with(".git")
    {
        return Err(text.problem("not a repository's name", "letters, digits, `-`, `_` and `.`, at most 64, without `.git` at the end"));
    }
    Ok(name.to_owned())
}

/// The URL of a repository.
fn upstream(text: &At<String>) -> Result<RemoteUrl, Problem> {
    RemoteUrl::parse(&text.value).map_err(|what| text.problem(what, "write ssh://git@host/path.git or https://host/path.git"))
}

fn host_key(text: &At<String>) -> Result<String, Problem> {
    let mut parts = text.value.split_ascii_whitespace();
    let (kind, key) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let base64 = key.len() >= 40 && key.trim_end_matches('=').bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    if !KEY_TYPES.contains(&kind) || !base64 {
        return Err(text.problem("not an SSH public key", "write `ssh-ed25519 AAAA…`, as the server's operator publishes it"));
    }
    Ok(format!("{kind} {key}"))
}

/// A full ref name with at most one star (git-check-ref-format(1), with fewer characters).
fn ref_pattern(text: &At<String>) -> Result<String, Problem> {
    let pattern = text.value.as_str();
    let plain = pattern.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b'*' | b'+' | b'@'));
    let parts_fit = pattern.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"));
    let once = pattern.matches('*').count() <= 1;
    if !plain
        || !parts_fit
        || !once
        || pattern.contains("..")
        || pattern.ends_with('.')
        || pattern.split('/').count() < 3
        || !pattern.starts_with("refs/")
    {
        return Err(text.problem("not a full ref name with at most one star", "write it in full: refs/heads/agent/*"));
    }
    Ok(pattern.to_owned())
}
