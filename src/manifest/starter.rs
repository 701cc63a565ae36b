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
    /// `bottle init` writes it out. The demonstration stays inside: it works only as it is.
    pub editable: bool,
}

/// All of them.
pub const LIBRARY: [Starter; 7] = [
    Starter { kind: Kind::Bottle, name: "dev", text: include_str!("starter/bottles/dev.md"), editable: true },
    Starter { kind: Kind::Bottle, name: "offline", text: include_str!("starter/bottles/offline.md"), editable: true },
    Starter { kind: Kind::Bottle, name: "demo", text: include_str!("starter/bottles/demo.md"), editable: false },
    Starter { kind: Kind::Agent, name: "implementer", text: include_str!("starter/agents/implementer.md"), editable: true },
    Starter { kind: Kind::Agent, name: "reviewer", text: include_str!("starter/agents/reviewer.md"), editable: true },
    Starter { kind: Kind::Agent, name: "shell", text: include_str!("starter/agents/shell.md"), editable: true },
    Starter { kind: Kind::Agent, name: "demo", text: include_str!("starter/agents/demo.md"), editable: false },
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
