//! The agents that bottle starts by name, as their vendors ship them and as people install them, each against its vendor's wire format.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bottle_test_support::warden::Ending;
use serde_json::{Value, json};

use super::tools::{AGENT_AIDER, AGENT_CLAUDE, AGENT_CODEX, AGENT_GEMINI, AGENT_OPENCODE, Package};
use super::world::{World, users};

const REPLY: &str = "The bottle is closed and the model is here.";
/// For a program of half a gigabyte on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(240);

/// One agent.
struct Agent {
    name: &'static str,
    package: Package,
    /// The credential that a person has, and the header that the vendor reads it from.
    variable: &'static str,
    header: &'static str,
    /// What comes before it in the header.
    scheme: &'static str,
    /// A part of the path at which the model is asked.
    path: &'static str,
    /// What the model says before it is done: a call of a tool of this program's that writes `hello.txt`.
    call: Option<Value>,
}

fn agent(name: &'static str, package: Package, variable: &'static str, header: &'static str, path: &'static str) -> Agent {
    Agent { name, package, variable, header, scheme: "", path, call: None }
}

fn call(name: &str, input: Value) -> Option<Value> {
    Some(json!({"type": "tool_use", "name": name, "input": input}))
}

impl Agent {
    /// The built-in agent in the built-in bottle, whose model is the far end.
    fn world(&self, directory: &Path) -> World {
        // An ordinary user, where there is a choice.
        let mut world = World::new(users().into_iter().next_back().flatten());
        let ready = world.origin.ready();
        let manifest = format!(
            "egress:\n  presets: [agent]\n  trust: [\"{}\"]\n  proxy: {{ address: \"{}\" }}",
            world.bottle.path().join("ca.pem").display(),
            ready.relay
        );
        let origin = world.origin.directory().to_owned();
        fs::write(origin.join("expected-token"), world.token.value()).expect("the far end's directory is ours");
        fs::write(origin.join("reply.txt"), REPLY).expect("the far end's directory is ours");
        if let Some(call) = &self.call {
            let turns = json!([[call], [{"type": "text", "text": REPLY}]]);
            fs::write(origin.join("reply.json"), turns.to_string()).expect("the far end's directory is ours");
        }
        let path = std::env::join_paths([directory.join("bin").as_path(), Path::new("/usr/bin"), Path::new("/bin")]).expect("a path");
        let token = world.token.clone();
        world.bottle = world.bottle.bottle("dev", &manifest).secret(self.variable, &token).patience(TIMEOUT);
        world.env("PATH", path).env("PIPX_HOME", directory)
    }

    /// Asks it by name, and compares what came of it.
    fn answers(&self) {
        let Some(directory) = self.package.installed() else { return };
        let world = self.world(&directory);
        let ended = world.bottle.run(["start", self.name, "--headless", "--prompt", "say hello"]);
        assert_eq!(ended.ending, Ending::Code(0), "{}: {}{}", self.name, ended.stdout, ended.stderr);
        assert!(ended.stdout.contains(REPLY), "{}: {}{}", self.name, ended.stdout, ended.stderr);
        let real = format!("{}{}", self.scheme, world.token.value());
        let asked: Vec<_> = world.since(0).into_iter().filter(|request| request.target.contains(self.path)).collect();
        let are_real: Vec<bool> =
            asked.iter().filter(|request| request.method != "MESSAGE").map(|request| request.header(self.header) == Some(&real)).collect();
        assert!(!are_real.is_empty() && are_real.iter().all(|is_real| *is_real), "{}: {are_real:?}", self.name);
        if self.call.is_some() {
            let changed = world.bottle.run(["diff", self.name, "--summary"]);
            assert!(changed.stdout.contains("hello.txt"), "{}: {}{}", self.name, changed.stdout, ended.stderr);
        }
    }
}

// covers: W24 S10
#[test]
fn claude_answers_and_writes_a_file_by_its_name() {
    let write = json!({"command": "echo hello >hello.txt", "description": "Write the file"});
    let claude = agent("claude", AGENT_CLAUDE, "ANTHROPIC_API_KEY", "x-api-key", "/v1/messages");
    Agent { call: call("Bash", write), ..claude }.answers();
}

// covers: W24 S10
#[test]
fn codex_answers_by_its_name() {
    Agent { scheme: "Bearer ", ..agent("codex", AGENT_CODEX, "OPENAI_API_KEY", "authorization", "/v1/responses") }.answers();
}

// covers: W24 S10
#[test]
fn gemini_answers_and_writes_a_file_by_its_name() {
    let write = json!({"file_path": "/workspace/hello.txt", "content": "hello\n"});
    let gemini = agent("gemini", AGENT_GEMINI, "GEMINI_API_KEY", "x-goog-api-key", ":streamGenerateContent");
    Agent { call: call("write_file", write), ..gemini }.answers();
}

// covers: W24 S10
#[test]
fn opencode_answers_and_writes_a_file_by_its_name() {
    let write = json!({"command": "echo hello >hello.txt", "description": "Write the file"});
    let opencode = agent("opencode", AGENT_OPENCODE, "ANTHROPIC_API_KEY", "x-api-key", "/v1/messages");
    Agent { call: call("bash", write), ..opencode }.answers();
}

// covers: W24 S10 W23
#[test]
fn aider_answers_by_its_name() {
    agent("aider", AGENT_AIDER, "ANTHROPIC_API_KEY", "x-api-key", "/v1/messages").answers();
}
