//! The agent's program and variables: what makes every tool use the proxy and trust its authority.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bottle_contract::names;
use serde_json::json;

use super::git;
use super::sidecars::{self, SidecarInput};
use crate::manifest::model::{Agent, Author, Bottle, EnvValue, Provider, TemplatePart};

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
pub struct Run {
    /// Runs instead of the agent's own program.
    pub command: Option<Vec<String>>,
    /// The task, for an agent that takes one.
    pub prompt: Option<String>,
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
const LOOPBACK: [&str; 7] = ["localhost", ".localhost", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]", "0.0.0.0"];

/// The program, with its arguments.
pub(super) fn argv(agent: &Agent, run: &Run) -> Vec<String> {
    if let Some(command) = &run.command {
        return command.clone();
    }
    let owned = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let mut argv = match &agent.provider {
        Provider::Claude => {
            // Its own permission prompts protect nothing inside a bottle.
            let mut argv = owned(&["claude", "--dangerously-skip-permissions"]);
            if !agent.prompt.is_empty() {
                argv.extend(["--append-system-prompt".into(), agent.prompt.clone()]);
            }
            if run.headless {
                argv.push("--print".into());
            }
            argv
        }
        Provider::Shell if run.prompt.is_some() => owned(&["/bin/sh", "-c"]),
        Provider::Shell => owned(&["/bin/bash", "-l"]),
        Provider::Command(command) => command.clone(),
    };
    argv.extend(run.prompt.clone());
    argv
}

/// All of the agent's variables. Of the operator's environment, only what the manifest names gets in.
pub(super) fn env(agent: &Agent, input: &SidecarInput<'_>, term: Option<&str>) -> BTreeMap<String, EnvValue> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        env.insert(name.to_owned(), EnvValue::Template(vec![TemplatePart::Text(value.to_owned())]));
    };
    for (name, value) in
        [("HOME", HOME), ("USER", "agent"), ("LOGNAME", "agent"), ("SHELL", "/bin/sh"), ("PATH", PATH), ("LANG", "C.UTF-8")]
    {
        set(name, value);
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
    if input.bottle.supervise {
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
    if agent.provider == Provider::Claude {
        for (name, value) in CLAUDE {
            set(name, value);
        }
    }
    env.extend(input.bottle.env.clone());
    env
}

/// The program that the host must have, if bottle knows the agent by name.
pub fn program(agent: &Agent) -> Option<&'static str> {
    match agent.provider {
        Provider::Claude => Some("claude"),
        Provider::Shell | Provider::Command(_) => None,
    }
}

/// Files of the agent's home.
pub(super) fn files(agent: &Agent, bottle: &Bottle, directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut put = |name: &str, text: String| drop(files.insert(Path::new(HOME).join(name), text));
    match agent.provider {
        Provider::Claude => claude_files(directory).into_iter().for_each(|(name, text)| put(name, text)),
        Provider::Shell | Provider::Command(_) => {}
    }
    // Git reads this file too; `~/.gitconfig` belongs to the agent.
    put(".config/git/config", git::config(&bottle.git, &git::author(agent, bottle)));
    files
}

/// Answers to the questions of Claude Code's first start: the theme, trust in the directory, work without permission prompts. The
/// operator has answered them with `bottle start`.
fn claude_files(directory: &Path) -> [(&'static str, String); 2] {
    let mut answers = json!({"hasCompletedOnboarding": true, "bypassPermissionsModeAccepted": true});
    answers["projects"][&*directory.to_string_lossy()] = json!({"hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true});
    [(".claude.json", format!("{answers}\n")), (".claude/settings.json", "{\"skipDangerousModePermissionPrompt\":true}\n".to_owned())]
}

/// Lets Claude Code start unattended and without its vendor's telemetry. The credential is a placeholder: `egress` injects the
/// real one.
const CLAUDE: &[(&str, &str)] = &[
    ("CLAUDE_CODE_OAUTH_TOKEN", "placeholder-the-bottle-puts-the-real-one-in"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_TELEMETRY", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("IS_SANDBOX", "1"),
];
