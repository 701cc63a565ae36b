//! The agent's program and variables: what makes every tool use the proxy and trust its authority.

use std::collections::BTreeMap;
use std::path::Path;

use bottle_contract::names;

use super::git;
use super::home;
use super::sidecars::{self, SidecarInput};
use super::toolchains::Toolchains;
use crate::manifest::model::{Agent, AgentProgram, Author, Bottle, EnvValue, TemplatePart};
use crate::manifest::provider::{Credential, Provider};

/// The agent's component name.
pub const AGENT: &str = "agent";
/// The agent's home in the bottle.
pub const HOME: &str = "/home/agent";
/// Where an agent finds its working directory, whatever its own path is.
pub const WORKSPACE: &str = "/workspace";
/// The file with the authority that the agent trusts: the default of Debian's and most other tools.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The agent's `PATH`.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin:/home/agent/.local/bin";

/// Bytes of each file system in memory that an agent may fill; pages count only once they are written.
pub const SCRATCH_BYTES: u64 = 4 << 30;
/// Bytes of the small ones.
pub const SMALL_BYTES: u64 = 1 << 20;

/// The operator's options for the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// Runs instead of the agent's own program.
    pub command: Option<Vec<String>>,
    /// The task, for an agent that takes one.
    pub prompt: Option<String>,
    /// Additional arguments for the agent's own program.
    pub arguments: Vec<String>,
    /// The model, instead of the manifest's.
    pub model: Option<String>,
    /// The program goes on with its last conversation.
    pub resume: bool,
    /// The program prints events as they come.
    pub stream: bool,
    /// No person is at a terminal.
    pub headless: bool,
}

/// Variables that tell tools their certificate file. Each is set to the bottle's authority.
pub const CA_VARIABLES: [&str; 11] = [
    "SSL_CERT_FILE",                    // OpenSSL, Go, Ruby, rustls-native-certs
    "NODE_EXTRA_CA_CERTS",              // Node.js
    "REQUESTS_CA_BUNDLE",               // Python requests
    "CURL_CA_BUNDLE",                   // curl
    "GIT_SSL_CAINFO",                   // git
    "PIP_CERT",                         // pip
    "CARGO_HTTP_CAINFO",                // cargo
    "AWS_CA_BUNDLE",                    // AWS tools
    "DENO_CERT",                        // Deno
    "NIX_SSL_CERT_FILE",                // Nix
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", // gRPC
];

/// Names and addresses of what runs inside, which is asked without the proxy. Programs read this list in different ways: some know no
/// ranges, some no brackets, and some want the dot.
/// Not `[::1]`, which alone Python's urllib would read: httpx, and so the SDKs of the model providers, fails on it at start.
const LOOPBACK: [&str; 6] = ["localhost", ".localhost", "127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0"];

/// All of the agent's variables. Of the operator's environment, only what the manifest names gets in.
pub(super) fn env(
    agent: &Agent,
    input: &SidecarInput<'_>,
    term: Option<&str>,
    directory: &Path,
    toolchains: &Toolchains,
    has_links: bool,
) -> BTreeMap<String, EnvValue> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        env.insert(name.to_owned(), EnvValue::Template(vec![TemplatePart::Text(value.to_owned())]));
    };
    for (name, value) in [
        ("HOME", HOME),
        ("USER", "agent"),
        ("LOGNAME", "agent"),
        ("SHELL", "/bin/sh"),
        ("PATH", &toolchains.path(has_links)),
        ("LANG", "C.UTF-8"),
    ] {
        set(name, value);
    }
    for (name, place) in &toolchains.env {
        set(name, &place.to_string_lossy());
    }
    if let Some(term) = term {
        set("TERM", term);
    }
    let (host, port) = sidecars::proxy(input);
    let proxy = format!("http://{host}:{port}");
    // libcurl reads HTTP_PROXY in lower case only, others in upper case only.
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        set(name, &proxy);
    }
    // Hosts inside the bottle, which are reachable without the proxy.
    let mut direct = [&LOOPBACK[..], &[input.id]].concat();
    if !input.bottle.git.is_empty() {
        direct.push(names::GIT_GATE.0);
    }
    // Otherwise a repository's configuration would win, and the gate accepts this identity only.
    let Author { name, email } = &input.author;
    for (variable, value) in
        [("GIT_AUTHOR_NAME", name), ("GIT_AUTHOR_EMAIL", email), ("GIT_COMMITTER_NAME", name), ("GIT_COMMITTER_EMAIL", email)]
    {
        set(variable, value);
    }
    for (variable, value) in git::settings() {
        set(&variable, &value);
    }
    if input.bottle.supervise.is_some() {
        direct.push(names::SUPERVISE.0);
    }
    for name in ["NO_PROXY", "no_proxy"] {
        set(name, &direct.join(","));
    }
    for name in CA_VARIABLES {
        set(name, CA_BUNDLE);
    }
    // Node's own fetch ignores the proxy variables by default.
    set("NODE_USE_ENV_PROXY", "1");
    set("BOTTLE_ID", input.id);
    if let Some(provider) = agent.program.provider() {
        for (name, value) in &provider.env {
            set(name, &home::filled(value, directory));
        }
        for (name, value) in placeholders(provider, input.bottle) {
            set(name, value);
        }
    }
    if home::writes_instructions(agent) {
        set("BOTTLE_INSTRUCTIONS", &format!("{HOME}/{}", home::INSTRUCTIONS));
    }
    env.extend(input.bottle.env.clone());
    env
}

/// The placeholders of the provider's credentials, by variable: of those that the routes put in, or of the first one, so that the program
/// does not ask for a login that could not succeed.
fn placeholders<'a>(provider: &'a Provider, bottle: &Bottle) -> impl Iterator<Item = (&'a str, &'a str)> {
    let routes = &bottle.egress.routes;
    let fits = |credential: &&Credential| routes.iter().any(|route| credential.fits(route));
    let mut chosen: Vec<&Credential> = provider.credentials.iter().filter(fits).collect();
    if chosen.is_empty() {
        chosen.extend(provider.credentials.first());
    }
    chosen.into_iter().flat_map(|credential| {
        let names = std::iter::once(credential.variable()).chain(credential.also.iter().map(String::as_str));
        names.map(|name| (name, credential.placeholder.as_str()))
    })
}

/// Where a person gets a provider's credentials, by their names.
pub(super) fn obtain(provider: &Provider) -> BTreeMap<String, String> {
    let one = |credential: &Credential| {
        let others: Vec<&str> =
            provider.credentials.iter().map(Credential::variable).filter(|other| *other != credential.variable()).collect();
        let or = if others.is_empty() { String::new() } else { format!("; {} would do, too", others.join(" or ")) };
        let login = provider.login.as_ref().filter(|login| login.variable == credential.variable());
        let login = login.map(|_| format!("; if you are logged in here, `auth: {{ login: {} }}` in your bottle uses that", provider.name));
        let text = format!("{}{or}{}", credential.obtain.as_deref().unwrap_or("see its vendor's pages"), login.unwrap_or_default());
        (credential.variable().to_owned(), text)
    };
    provider.credentials.iter().map(one).collect()
}

/// The programs that are looked up on the host, by name: the one that runs, and the provider's, which another one may call.
pub fn programs<'a>(agent: &'a Agent, invocation: &'a Invocation) -> Vec<&'a str> {
    let provider = agent.program.provider().map(|provider| &*provider.program);
    let mut names: Vec<&str> = program(agent, invocation).into_iter().chain(provider).collect();
    names.dedup();
    names
}

/// The program that runs, by its name.
pub fn program<'a>(agent: &'a Agent, invocation: &'a Invocation) -> Option<&'a str> {
    if let Some(command) = &invocation.command {
        return command.first().map(String::as_str);
    }
    match &agent.program {
        AgentProgram::Provider(provider) => Some(&provider.program),
        AgentProgram::Command(command) => command.first().map(String::as_str),
    }
}
