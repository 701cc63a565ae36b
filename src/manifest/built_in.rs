//! The built-in manifests, so that the first start needs no configuration.

use super::model::Origin;
use super::source::{Kind, Source};

/// A built-in manifest.
#[derive(Clone, Copy, Debug)]
pub struct Starter {
    /// Its kind.
    pub kind: Kind,
    /// The name that it defines.
    pub name: &'static str,
    /// Its content.
    pub text: &'static str,
}

/// All built-in manifests.
pub const LIBRARY: &[Starter] = &[
    Starter { kind: Kind::Bottle, name: "dev", text: include_str!("starter/bottles/dev.md") },
    Starter { kind: Kind::Bottle, name: "offline", text: include_str!("starter/bottles/offline.md") },
    Starter { kind: Kind::Agent, name: "aider", text: include_str!("starter/agents/aider.md") },
    Starter { kind: Kind::Agent, name: "claude", text: include_str!("starter/agents/claude.md") },
    Starter { kind: Kind::Agent, name: "codex", text: include_str!("starter/agents/codex.md") },
    Starter { kind: Kind::Agent, name: "copilot", text: include_str!("starter/agents/copilot.md") },
    Starter { kind: Kind::Agent, name: "gemini", text: include_str!("starter/agents/gemini.md") },
    Starter { kind: Kind::Agent, name: "implementer", text: include_str!("starter/agents/implementer.md") },
    Starter { kind: Kind::Agent, name: "opencode", text: include_str!("starter/agents/opencode.md") },
    Starter { kind: Kind::Agent, name: "reviewer", text: include_str!("starter/agents/reviewer.md") },
    Starter { kind: Kind::Agent, name: "shell", text: include_str!("starter/agents/shell.md") },
    Starter { kind: Kind::Provider, name: "aider", text: include_str!("starter/providers/aider.md") },
    Starter { kind: Kind::Provider, name: "claude", text: include_str!("starter/providers/claude.md") },
    Starter { kind: Kind::Provider, name: "codex", text: include_str!("starter/providers/codex.md") },
    Starter { kind: Kind::Provider, name: "copilot", text: include_str!("starter/providers/copilot.md") },
    Starter { kind: Kind::Provider, name: "gemini", text: include_str!("starter/providers/gemini.md") },
    Starter { kind: Kind::Provider, name: "opencode", text: include_str!("starter/providers/opencode.md") },
    Starter { kind: Kind::Provider, name: "shell", text: include_str!("starter/providers/shell.md") },
];

/// The built-in manifests as sources.
pub fn sources() -> impl Iterator<Item = Source> {
    LIBRARY.iter().map(|starter| Source {
        kind: starter.kind,
        name: starter.name.to_owned(),
        origin: Origin::BuiltIn,
        content: Ok(starter.text.as_bytes().to_vec()),
    })
}
