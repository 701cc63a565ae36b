//! Which engine there is, what it can do, and how it is asked. `read` is pure; the rest asks.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use serde::Deserialize;

use super::command::{self, Running};
use crate::error::{Error, Result};
use crate::render::compose::Closed;

/// An engine that has not answered after this time hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// `docker-compose` asks no engine for its version, but is a large Python program.
const COMPOSE_VERSION_TIMEOUT: Duration = Duration::from_secs(20);
/// The first version whose bridges can be closed to the host (moby 28.0, `gateway_mode_ipv4=isolated`).
const MIN_ISOLATING_MAJOR: u32 = 28;
/// The first version that was tried.
const MIN_MAJOR: u32 = 20;

/// An engine, and the compose that goes with it.
#[derive(Clone, Debug)]
pub struct Engine {
    client: OsString,
    compose: OsString,
    host: Option<String>,
    /// `docker compose 2.40.3 on Engine 28.5.2`.
    pub name: String,
    /// How it closes a bridge.
    pub closed: Closed,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// What the client says about both sides.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    server_version: String,
    #[serde(rename = "OSType")]
    os_type: String,
    security_options: Option<Vec<String>>,
    runtimes: Option<BTreeMap<String, serde_json::Value>>,
    server_errors: Option<Vec<String>>,
    client_info: Client,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Client {
    plugins: Option<Vec<Plugin>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Plugin {
    name: String,
    version: String,
    path: String,
}

/// What was found out about an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Its version.
    pub version: String,
    /// How it closes a bridge.
    pub closed: Closed,
    /// The compose plugin of its client: version and program.
    pub plugin: Option<(String, String)>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Reads what `docker info` says; the error is why this engine cannot be used.
pub fn read(info: &Info) -> Result<Abilities, String> {
    if let Some(error) = info.server_errors.iter().flatten().next() {
        return Err(bottle_contract::Untrusted::new(error).to_string());
    }
    let number = info.server_version.split(['.', '-', '+']).next().and_then(|major| major.parse::<u32>().ok());
    let Some(major) = number else { return Err("the daemon did not say its version".to_owned()) };
    if major < MIN_MAJOR {
        return Err(format!("Engine {} is too old: 20.10 is the first that can be used", info.server_version));
    }
    if info.os_type != "linux" {
        return Err(format!("it runs containers of `{}`, not of this machine", info.os_type));
    }
    for option in info.security_options.iter().flatten() {
        if option.starts_with("name=rootless") || option.starts_with("name=userns") {
            return Err(format!("it maps users ({option}): a private key would have to be readable by others"));
        }
    }
    let closed = if major >= MIN_ISOLATING_MAJOR { Closed::Isolated } else { Closed::WithoutAddress };
    let mut notes = Vec::new();
    if info.runtimes.as_ref().is_some_and(|runtimes| runtimes.contains_key("runsc")) {
        notes.push("the engine offers gVisor (runsc), which is not used: descriptors cannot be handed out of it".to_owned());
    }
    if closed == Closed::WithoutAddress {
        notes.push(format!("Engine {} closes the agent's bridge by giving it no address; 28 and later isolate it", info.server_version));
    }
    let plugin = info.client_info.plugins.iter().flatten().find(|plugin| plugin.name == "compose" && !plugin.path.is_empty());
    let plugin = plugin.map(|plugin| (plugin.version.clone(), plugin.path.clone()));
    Ok(Abilities { version: info.server_version.clone(), closed, plugin, notes })
}

impl Engine {
    /// Looks for an engine and a compose: `docker compose`, else `docker-compose`. Podman is looked for only to say why it is not used.
    pub fn find() -> Result<Self> {
        let mut tried = Vec::new();
        match docker() {
            Ok(engine) => return Ok(engine),
            Err(why) => tried.push(why),
        }
        tried.push(podman());
        Err(Error::failed(
            "there is no engine for the compose backend",
            tried.join("; "),
            "start Docker (`systemctl start docker`) and install its compose plugin, or use `--backend embedded`",
        ))
    }

    /// The engine of a bottle that was started earlier, which need not be today's. No compose is needed to remove one.
    pub fn of(host: Option<&str>) -> Self {
        let client = crate::agent_program::look_up("docker").map_or_else(|| "docker".into(), |program| program.found.into_os_string());
        Self {
            client,
            compose: OsString::new(),
            host: host.map(str::to_owned),
            name: String::new(),
            closed: Closed::WithoutAddress,
            notes: Vec::new(),
        }
    }

    /// What `DOCKER_HOST` names.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Asks the engine, and waits for the answer.
    pub fn ask<A: AsRef<OsStr>>(&self, arguments: &[A]) -> std::io::Result<String> {
        self.ask_for(arguments, ANSWER_TIMEOUT)
    }

    /// The same, with more patience.
    pub fn ask_for<A: AsRef<OsStr>>(&self, arguments: &[A], patience: Duration) -> std::io::Result<String> {
        self.start(arguments)?.finish(patience)?.output()
    }

    /// Starts a command of the client.
    pub fn start<A: AsRef<OsStr>>(&self, arguments: &[A]) -> std::io::Result<Running> {
        command::start(&self.client, arguments, self.host())
    }

    /// Starts a command of the client that prints into a file.
    pub fn start_into<A: AsRef<OsStr>>(&self, arguments: &[A], file: &std::fs::File) -> std::io::Result<Running> {
        command::start_into(&self.client, arguments, self.host(), file.try_clone()?, file.try_clone()?)
    }

    /// Starts a command of compose.
    pub fn compose<A: AsRef<OsStr>>(&self, arguments: &[A]) -> std::io::Result<Running> {
        command::start(&self.compose, arguments, self.host())
    }
}

/// Docker with either compose; the error is a sentence.
fn docker() -> Result<Engine, String> {
    let client = crate::agent_program::look_up("docker").ok_or("no `docker` on PATH")?.found.into_os_string();
    let host = std::env::var("DOCKER_HOST").ok();
    if host.as_ref().is_some_and(|host| !host.starts_with("unix:")) {
        return Err("DOCKER_HOST names another machine, which shares neither files nor sockets with this one".to_owned());
    }
    let asked = command::start(&client, &["info", "--format", "{{json .}}"], None).and_then(|running| running.finish(ANSWER_TIMEOUT));
    let said = asked.map_err(|e| format!("docker: {e}"))?;
    let info: Info = serde_json::from_str(said.stdout.trim()).map_err(|_| format!("docker: {}", said.cause()))?;
    let silent = info.server_version.is_empty() && info.server_errors.is_none();
    let Abilities { version, closed, plugin, mut notes } =
        read(&info).map_err(|why| format!("docker: {}", if silent { said.cause() } else { why }))?;
    let (name, compose) = match plugin {
        // Executed itself: it then ends with its caller, not behind a client that was killed.
        Some((version, path)) => (format!("docker compose {}", version.trim_start_matches('v')), path.into()),
        None => {
            let found = crate::agent_program::look_up("docker-compose");
            let program = found.ok_or("docker: neither a compose plugin nor `docker-compose` on PATH")?.found.into_os_string();
            let asked = command::start(&program, &["version", "--short"], None).and_then(|running| running.finish(COMPOSE_VERSION_TIMEOUT));
            let version = asked.and_then(command::Finished::output).map_err(|e| format!("docker-compose: {e}"))?;
            notes.push("`docker compose` is not there, `docker-compose` is used".to_owned());
            (format!("docker-compose {}", version.trim()), program)
        }
    };
    Ok(Engine { client, compose, host, name: format!("{name} on Engine {version}"), closed, notes })
}

/// Podman is found, and cannot be used.
fn podman() -> String {
    match crate::agent_program::look_up("podman") {
        None => "no `podman` on PATH".to_owned(),
        // netavark gives every bridge an address of the host's, also an internal one.
        Some(_) => "podman: its internal networks lead to the host's own services".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> Result<Abilities, String> {
        read(&serde_json::from_str(text).unwrap())
    }

    // covers: C06
    #[test]
    fn an_engine_is_known_by_what_it_says() {
        let said = r#"{"ServerVersion":"28.5.2+dfsg4","OSType":"linux","SecurityOptions":["name=seccomp,profile=builtin"],
            "Runtimes":{"runc":{},"runsc":{}},"ClientInfo":{"Plugins":[{"Name":"buildx"},{"Name":"compose","Version":"v2.40.3","Path":"/p"}]}}"#;
        let found = info(said).unwrap();
        assert_eq!((found.closed, found.plugin), (Closed::Isolated, Some(("v2.40.3".into(), "/p".into()))));
        assert!(found.notes[0].contains("gVisor"), "{:?}", found.notes);
        let old = info(r#"{"ServerVersion":"20.10.24+dfsg1","OSType":"linux","ClientInfo":{"Plugins":null}}"#).unwrap();
        assert_eq!((old.closed, old.plugin), (Closed::WithoutAddress, None));
    }

    // covers: C01
    #[test]
    fn an_engine_that_cannot_be_used_says_why() {
        let refused = |text: &str| info(text).unwrap_err();
        assert!(!refused(r#"{"ServerErrors":["Cannot connect to the Docker daemon\u001b[2J"]}"#).contains('\u{1b}'));
        assert_eq!(refused("{}"), "the daemon did not say its version");
        assert!(refused(r#"{"ServerVersion":"19.03.1","OSType":"linux"}"#).contains("too old"));
        assert!(refused(r#"{"ServerVersion":"28.1.0","OSType":"windows"}"#).contains("windows"));
        assert!(refused(r#"{"ServerVersion":"28.1.0","OSType":"linux","SecurityOptions":["name=rootless"]}"#).contains("maps users"));
    }
}
