//! The library inside the program, so that the first start needs no authoring.

use super::library::{Kind, Source};
use super::model::Origin;

/// A built-in manifest.
#[derive(Clone, Copy, Debug)]
pub struct Starter {
    /// What it defines.
    pub kind: Kind,
    /// Its key.
    pub name: &'static str,
    /// Its content.
    pub text: &'static str,
}

/// All of them.
pub const LIBRARY: [Starter; 5] = [
    Starter { kind: Kind::Bottle, name: "dev", text: include_str!("starter/bottles/dev.md") },
    Starter { kind: Kind::Bottle, name: "offline", text: include_str!("starter/bottles/offline.md") },
    Starter { kind: Kind::Agent, name: "implementer", text: include_str!("starter/agents/implementer.md") },
    Starter { kind: Kind::Agent, name: "reviewer", text: include_str!("starter/agents/reviewer.md") },
    Starter { kind: Kind::Agent, name: "shell", text: include_str!("starter/agents/shell.md") },
];

/// The library as sources.
pub fn sources() -> impl Iterator<Item = Source> {
    LIBRARY.iter().map(|starter| Source {
        kind: starter.kind,
        name: starter.name.to_owned(),
        origin: Origin::BuiltIn,
        content: Ok(starter.text.as_bytes().to_vec()),
    })
}
