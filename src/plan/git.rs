//! Repositories behind `git-gate`: the configurations of the gate, of pipelock and of the agent's git. Pure.

use std::fmt::Write;

use bottle_contract::gate::{PushPolicy, Remote, Repo};
use bottle_contract::names;
use bottle_contract::pipelock::Tunnel;
use bottle_contract::remote::{RemoteUrl, Scheme};
use bottle_contract::route::Auth;

use super::SecretPlan;
use crate::manifest::model::{self, Agent, Author, Bottle};
use crate::manifest::token::TokenSource;

/// The distinct secrets of the repositories, numbered in the order of their first use, behind those that are known already.
pub(super) fn secrets(repos: &[model::Repo], known: &[SecretPlan]) -> Vec<SecretPlan> {
    let mut secrets = known.to_vec();
    for repo in repos {
        let file = repo.identity.as_ref().map(|path| (path.to_string_lossy().into_owned(), true, TokenSource::Variable));
        let token = repo.auth.as_ref().map(|auth| (auth.token_ref.clone(), false, auth.source.clone()));
        let Some((token_ref, is_file, source)) = file.or(token) else { continue };
        match secrets.iter().position(|other| other.token_ref == token_ref) {
            None => secrets.push(SecretPlan { slot: format!("GIT_SECRET_{}", secrets.len()), token_ref, is_file, source, obtain: None }),
            // From elsewhere than at the start: whoever compares sees it.
            Some(at) if at < known.len() => (secrets[at].is_file, secrets[at].source) = (is_file, source),
            Some(_) => {}
        }
    }
    secrets
}

/// A repository in the gate's configuration.
pub(super) fn repo(repo: &model::Repo, author: &Author, secrets: &[SecretPlan]) -> Repo {
    let url = &repo.upstream;
    let slot = |name: &str| secrets.iter().find(|secret| secret.token_ref == name).map_or(String::new(), |secret| secret.slot.clone());
    let (host, port, path) = (url.host.clone(), url.port(), url.path.clone());
    let upstream = match &url.scheme {
        Scheme::Ssh(user) => Remote::Ssh {
            host,
            port,
            path,
            user: user.clone(),
            host_key: repo.host_key.clone().unwrap_or_default(),
            identity: repo.identity.as_ref().map_or(String::new(), |path| slot(&path.to_string_lossy())),
        },
        Scheme::Https => {
            let auth = repo.auth.as_ref();
            let auth = auth.map(|auth| Auth { header: auth.header.clone(), scheme: auth.scheme.clone(), slot: slot(&auth.token_ref) });
            Remote::Https { host, port, path, auth }
        }
    };
    let committer = (!repo.other_committers).then(|| author.to_string());
    Repo { name: repo.name.clone(), upstream, push: PushPolicy { committer, ..repo.push.clone() } }
}

/// The only tunnels that pipelock opens for the gate.
pub(super) fn tunnels(repos: &[model::Repo]) -> Vec<Tunnel> {
    let mut tunnels: Vec<Tunnel> = Vec::new();
    for repo in repos {
        let model::Repo { upstream, connect, .. } = repo;
        let tunnel = Tunnel { host: upstream.host.clone(), port: upstream.port(), address: *connect };
        if !tunnels.iter().any(|other| (&other.host, other.port) == (&tunnel.host, tunnel.port)) {
            tunnels.push(tunnel);
        }
    }
    tunnels
}

/// The agent's git configuration: it redirects every spelling of an upstream to the gate, whatever a clone calls its remotes.
///
/// Git rewrites prefixes: `https://host/acme/app` is one of `https://host/acme/app-docs` too. So the gate gets what stands behind the prefix,
/// and leads to that other repository where it is.
pub(super) fn config(repos: &[model::Repo], author: &Author) -> String {
    let Author { name, email } = author;
    let mut text = format!("# Made by bottle.\n[user]\n\tname = {name}\n\temail = {email}\n");
    for repo in repos {
        let (host, port) = names::GIT_GATE;
        let _ = writeln!(text, "[url \"http://{host}:{port}{}{}:\"]", names::REWRITTEN, repo.name);
        for spelling in spellings(&repo.upstream) {
            let _ = writeln!(text, "\tinsteadOf = {spelling}");
        }
    }
    text
}

/// Whom the agent's commits name: whom the manifest names, else the agent itself.
pub(super) fn author(agent: &Agent, bottle: &Bottle) -> Author {
    if bottle.author == Author::default() {
        return Author { name: agent.name.clone(), email: format!("{}@bottle.invalid", agent.name) };
    }
    bottle.author.clone()
}

/// Settings that count more than any file's, as variables (git-config(1), GIT_CONFIG_COUNT): a key to sign with is not in the bottle.
pub(super) fn settings() -> Vec<(String, String)> {
    const UNSIGNED: [&str; 4] = ["commit.gpgSign", "tag.gpgSign", "tag.forceSignAnnotated", "push.gpgSign"];
    let numbered = UNSIGNED
        .iter()
        .enumerate()
        .flat_map(|(n, key)| [(format!("GIT_CONFIG_KEY_{n}"), (*key).to_owned()), (format!("GIT_CONFIG_VALUE_{n}"), "false".to_owned())]);
    numbered.chain([("GIT_CONFIG_COUNT".to_owned(), UNSIGNED.len().to_string())]).collect()
}

/// All that a person or a tool writes for an upstream, without `.git`.
fn spellings(upstream: &RemoteUrl) -> Vec<String> {
    let canonical = upstream.host.to_string();
    let mut spellings = spellings_at(upstream, &upstream.written_host);
    if canonical != upstream.written_host {
        spellings.extend(spellings_at(upstream, &canonical));
    }
    spellings
}

/// The same, with this spelling of its host.
fn spellings_at(upstream: &RemoteUrl, host: &str) -> Vec<String> {
    let path = upstream.path.strip_suffix(".git").unwrap_or(&upstream.path);
    let port = upstream.named_port;
    let (ssh, user) = match &upstream.scheme {
        Scheme::Ssh(user) => (true, user.as_str()),
        Scheme::Https => (false, "git"),
    };
    let mut spellings = Vec::new();
    // For the other scheme, only the default port is known.
    let ports = |own: bool, usual: u16| -> Vec<String> {
        match port.filter(|port| own && *port != usual) {
            Some(port) => vec![format!(":{port}")],
            None => vec![String::new(), format!(":{usual}")],
        }
    };
    for port in ports(ssh, RemoteUrl::SSH_PORT) {
        spellings.push(format!("ssh://{user}@{host}{port}{path}"));
        spellings.push(format!("git+ssh://{user}@{host}{port}{path}"));
    }
    if !ssh || port.is_none_or(|port| port == RemoteUrl::SSH_PORT) {
        spellings.push(format!("{user}@{host}:{}", path.trim_start_matches('/')));
        spellings.push(format!("{user}@{host}:{path}"));
    }
    for port in ports(!ssh, RemoteUrl::HTTPS_PORT) {
        spellings.push(format!("https://{host}{port}{path}"));
    }
    spellings.push(format!("http://{host}{path}"));
    spellings.push(format!("git://{host}{path}"));
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::Repo;

    fn repo(name: &str, upstream: &str) -> Repo {
        Repo {
            name: name.into(),
            upstream: RemoteUrl::parse(upstream).unwrap(),
            identity: None,
            host_key: None,
            auth: None,
            connect: None,
            push: PushPolicy::default(),
            other_committers: false,
        }
    }

    // covers: W30
    #[test]
    fn a_repository_takes_a_handful_of_lines() {
        let text = config(&[repo("app", "https://git.test/acme/app.git")], &Author::default());
        let expected = "# Made by bottle.
[user]
\tname = agent
\temail = agent@bottle.invalid
[url \"http://git-gate:9420/-/app:\"]
\tinsteadOf = ssh://git@git.test/acme/app
\tinsteadOf = git+ssh://git@git.test/acme/app
\tinsteadOf = ssh://git@git.test:22/acme/app
\tinsteadOf = git+ssh://git@git.test:22/acme/app
\tinsteadOf = git@git.test:acme/app
\tinsteadOf = git@git.test:/acme/app
\tinsteadOf = https://git.test/acme/app
\tinsteadOf = https://git.test:443/acme/app
\tinsteadOf = http://git.test/acme/app
\tinsteadOf = git://git.test/acme/app
";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_upstream_is_known_in_all_its_spellings() {
        assert_eq!(
            spellings(&RemoteUrl::parse("ssh://git@github.com/acme/app.git").unwrap()),
            [
                "ssh://git@github.com/acme/app",
                "git+ssh://git@github.com/acme/app",
                "ssh://git@github.com:22/acme/app",
                "git+ssh://git@github.com:22/acme/app",
                "git@github.com:acme/app",
                "git@github.com:/acme/app",
                "https://github.com/acme/app",
                "https://github.com:443/acme/app",
                "http://github.com/acme/app",
                "git://github.com/acme/app",
            ]
        );
        let corp = spellings(&RemoteUrl::parse("https://git.corp.test:8443/acme/app").unwrap());
        assert!(corp.contains(&"https://git.corp.test:8443/acme/app".to_owned()));
        assert!(!corp.contains(&"https://git.corp.test/acme/app".to_owned()));
        let both = spellings(&RemoteUrl::parse("https://GitHub.com/acme/app").unwrap());
        assert!(["GitHub.com", "github.com"].iter().all(|host| both.contains(&format!("https://{host}/acme/app"))), "{both:?}");
    }
}
