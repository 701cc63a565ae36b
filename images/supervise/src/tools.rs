//! The tools: what they are called, what they take, and what they answer. Pure.

use bottle_contract::supervise::{AskState, Denial, MAX_DENIALS, MAX_LIST, MAX_REASON_CHARS, Proposal, Reply, ToSupervisor};
use serde_json::{Map, Value, json};

/// How long one call waits for a person at most, in seconds: the shortest patience of a client is 60.
pub const MAX_WAIT_SECONDS: u64 = 25;
/// Bytes of one argument.
const MAX_TEXT: usize = 4096;

/// What a model is told of the server.
pub const INSTRUCTIONS: &str = "You run in a bottle, which reaches only what its manifest allows. When a request is refused with \
    host_not_listed, port_not_listed, method_not_allowed or path_not_allowed and you need it for the task, propose the narrowest route \
    that suffices with bottle_propose, then call bottle_wait until a person has decided. A no is final: work without it.";

/// A call that can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `bottle_denials`.
    Denials(usize),
    /// `bottle_propose`.
    Propose(Proposal),
    /// `bottle_wait`.
    Wait {
        /// The question.
        ask: String,
        /// For so long.
        seconds: u64,
    },
}

/// Why a call is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// There is no such tool.
    UnknownTool,
    /// The arguments do not fit; the model can correct them.
    Arguments(String),
}

/// The definitions of all tools, in the order in which a model should think of them.
pub fn definitions() -> Value {
    json!([
        {
            "name": "bottle_denials",
            "title": "Show refused requests",
            "description": "Lists the newest network requests that this bottle refused, with the reason of each. Use it when a program \
                fails to reach the network and its own message does not say why.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "last": { "type": "integer", "minimum": 1, "maximum": MAX_DENIALS, "description": "How many; 10 without it." }
                },
                "additionalProperties": false
            },
            "annotations": { "readOnlyHint": true, "openWorldHint": false }
        },
        {
            "name": "bottle_propose",
            "title": "Propose a route",
            "description": "Asks the person who runs this bottle to allow requests to one host. Propose the least that suffices: the exact \
                host, only the methods and paths that you will use. Returns the name of the question, such as web.3; nothing is allowed \
                until the person says yes, which bottle_wait tells. The same proposal again returns the same question.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "host": { "type": "string", "description": "One host name, without scheme, port or path: api.example.com" },
                    "port": { "type": "integer", "minimum": 1, "maximum": 65535, "description": "443 without it." },
                    "methods": {
                        "type": "array", "minItems": 1, "maxItems": MAX_LIST, "items": { "type": "string" },
                        "description": "Upper-case HTTP methods: [\"GET\"]"
                    },
                    "paths": {
                        "type": "array", "minItems": 1, "maxItems": MAX_LIST, "items": { "type": "string" },
                        "description": "Paths without a query. One that ends with / includes all paths below it: [\"/v1/items/\"]"
                    },
                    "reason": {
                        "type": "string", "minLength": 1, "maxLength": MAX_REASON_CHARS,
                        "description": "One or two sentences for the person: what it is needed for."
                    }
                },
                "required": ["host", "methods", "paths", "reason"],
                "additionalProperties": false
            },
            "annotations": { "readOnlyHint": false, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false }
        },
        {
            "name": "bottle_wait",
            "title": "Wait for a decision",
            "description": "Waits until the person has decided about a question, up to 25 seconds, and tells how it stands: open (still \
                undecided: do something else, or call again), granted (send the request now), denied (final; the reason says why), \
                expired, withdrawn or ended (ask again if it is still needed), superseded (the reason names the question that took its \
                place), failed. A refusal with approval_pending names its question too.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "ask": { "type": "string", "description": "The name of the question: web.3" },
                    "seconds": {
                        "type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS,
                        "description": "How long to wait; 25 without it, 0 to look only."
                    }
                },
                "required": ["ask"],
                "additionalProperties": false
            },
            "annotations": { "readOnlyHint": true, "openWorldHint": false }
        }
    ])
}

/// Reads a call.
pub fn call(name: &str, arguments: &Map<String, Value>) -> Result<Call, Misuse> {
    let arguments = Arguments(arguments);
    match name {
        "bottle_denials" => {
            arguments.only(&["last"])?;
            let last = arguments.number("last", 1, MAX_DENIALS as u64)?.unwrap_or(10);
            Ok(Call::Denials(usize::try_from(last).unwrap_or(MAX_DENIALS)))
        }
        "bottle_propose" => {
            arguments.only(&["host", "port", "methods", "paths", "reason"])?;
            let port = arguments.number("port", 1, 65_535)?.and_then(|port| u16::try_from(port).ok());
            Ok(Call::Propose(Proposal {
                host: arguments.text("host")?,
                port,
                methods: arguments.list("methods")?,
                paths: arguments.list("paths")?,
                reason: arguments.text("reason")?,
            }))
        }
        "bottle_wait" => {
            arguments.only(&["ask", "seconds"])?;
            let seconds = arguments.number("seconds", 0, MAX_WAIT_SECONDS)?.unwrap_or(MAX_WAIT_SECONDS);
            Ok(Call::Wait { ask: arguments.text("ask")?, seconds })
        }
        _ => Err(Misuse::UnknownTool),
    }
}

impl Call {
    /// What the supervisor is told.
    pub fn message(&self) -> ToSupervisor {
        match self {
            Self::Denials(last) => ToSupervisor::Denials { last: *last },
            Self::Propose(proposal) => ToSupervisor::Propose(proposal.clone()),
            Self::Wait { ask, .. } => ToSupervisor::Follow { ask: ask.clone() },
        }
    }
}

struct Arguments<'a>(&'a Map<String, Value>);

impl Arguments<'_> {
    fn only(&self, known: &[&str]) -> Result<(), Misuse> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            // Its name may hold anything, and is not repeated.
            Some(_) => Err(Misuse::Arguments(format!("an unknown argument; known are {}", known.join(", ")))),
        }
    }

    fn text(&self, name: &str) -> Result<String, Misuse> {
        match self.0.get(name) {
            Some(Value::String(text)) if text.len() <= MAX_TEXT => Ok(text.clone()),
            Some(Value::String(_)) => Err(Misuse::Arguments(format!("`{name}` is longer than {MAX_TEXT} bytes"))),
            _ => Err(Misuse::Arguments(format!("`{name}` must be a string"))),
        }
    }

    fn list(&self, name: &str) -> Result<Vec<String>, Misuse> {
        let bad = || Misuse::Arguments(format!("`{name}` must be a list of 1 to {MAX_LIST} strings"));
        let Some(Value::Array(items)) = self.0.get(name) else { return Err(bad()) };
        if items.is_empty() || items.len() > MAX_LIST {
            return Err(bad());
        }
        let one = |item: &Value| item.as_str().filter(|text| text.len() <= MAX_TEXT).map(str::to_owned).ok_or_else(bad);
        items.iter().map(one).collect()
    }

    fn number(&self, name: &str, from: u64, to: u64) -> Result<Option<u64>, Misuse> {
        let bad = || Misuse::Arguments(format!("`{name}` must be a whole number from {from} to {to}"));
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => value.as_u64().filter(|number| (from..=to).contains(number)).map(Some).ok_or_else(bad),
        }
    }
}

/// What a model reads: the same as text and as data, and whether it is an error.
pub fn answer(reply: &Reply) -> Value {
    match reply {
        Reply::Refused(why) => error(why),
        Reply::Denials(denials) => content(json!({ "denials": denials.iter().map(denial).collect::<Vec<_>>() }), false),
        Reply::State { ask, state, reason } => {
            let mut shown = json!({ "ask": ask, "state": state, "next": next(*state) });
            if let Some(reason) = reason {
                shown["reason"] = Value::from(reason.as_str());
            }
            content(shown, false)
        }
        Reply::Held(_) => error("this is no question of a tool"),
    }
}

/// An error that the model can do something about.
pub fn error(why: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": why }], "isError": true })
}

fn content(data: Value, is_error: bool) -> Value {
    json!({ "content": [{ "type": "text", "text": data.to_string() }], "structuredContent": data, "isError": is_error })
}

fn denial(denial: &Denial) -> Value {
    let mut shown = serde_json::to_value(denial).unwrap_or_default();
    shown["hint"] = Value::from(denial.reason.hint());
    shown
}

/// What to do now.
fn next(state: AskState) -> &'static str {
    match state {
        AskState::Open => "nobody has decided yet: call bottle_wait again, or do something else meanwhile",
        AskState::Granting => "a person has said yes, and it is being put in force: call bottle_wait again",
        AskState::Granted => "allowed: send the request now",
        AskState::Denied => "a person has said no: work without it, and do not propose it again",
        AskState::Expired => "nobody decided in time: propose it again only if the task needs it",
        AskState::Withdrawn => "the request is gone: send it again, or propose a route",
        AskState::Superseded => "the policy has changed: follow the question that took its place, or send the request again",
        AskState::Ended => "the grant has ended: propose it again only if the task needs it",
        AskState::Failed => "a person said yes, but it could not be put in force: tell them",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, arguments: Value) -> Result<Call, Misuse> {
        call(name, arguments.as_object().expect("an object"))
    }

    #[test]
    fn each_tool_takes_what_its_schema_says() {
        let proposal = json!({"host": "a.test", "methods": ["GET"], "paths": ["/"], "reason": "why"});
        assert_eq!(read("bottle_denials", json!({})), Ok(Call::Denials(10)));
        assert_eq!(read("bottle_wait", json!({"ask": "web.1", "seconds": 0})), Ok(Call::Wait { ask: "web.1".into(), seconds: 0 }));
        assert!(matches!(read("bottle_propose", proposal), Ok(Call::Propose(Proposal { port: None, .. }))));
        assert_eq!(read("bottle_grant", json!({})), Err(Misuse::UnknownTool));
        for (name, arguments, field) in [
            ("bottle_denials", json!({"last": 0}), "`last`"),
            ("bottle_denials", json!({"last": "1"}), "`last`"),
            ("bottle_denials", json!({"first": 1}), "an unknown argument"),
            ("bottle_wait", json!({}), "`ask`"),
            ("bottle_wait", json!({"ask": "web.1", "seconds": 26}), "`seconds`"),
            ("bottle_propose", json!({"host": "a.test", "methods": [], "paths": ["/"], "reason": "why"}), "`methods`"),
            ("bottle_propose", json!({"host": "a.test", "methods": ["GET"], "paths": ["/"]}), "`reason`"),
            ("bottle_propose", json!({"host": "a.test", "port": 65_536, "methods": ["GET"], "paths": ["/"], "reason": "x"}), "`port`"),
            ("bottle_propose", json!({"host": "x".repeat(5000), "methods": ["GET"], "paths": ["/"], "reason": "x"}), "`host`"),
        ] {
            match read(name, arguments.clone()) {
                Err(Misuse::Arguments(why)) => assert!(why.starts_with(field), "{arguments}: {why}"),
                other => panic!("{arguments}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_definition_has_what_a_model_needs() {
        for tool in definitions().as_array().expect("a list") {
            let name = tool["name"].as_str().expect("a name");
            assert!(name.starts_with("bottle_") && tool["description"].as_str().is_some_and(|text| text.len() > 80), "{name}");
            assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
        }
    }
}
