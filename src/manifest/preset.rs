//! Presets: lists of hosts by name, each with its reason.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bottle_contract::Untrusted;
use serde::Deserialize;

use super::host_path::Base;
use super::model::Route;
use super::provider::Provider;
use super::{raw, route};
use crate::suggest;
use crate::yaml::{self, At, Problem};

/// The preset of the agent's own program: its provider's hosts, with its credential.
pub const AGENT: &str = "agent";

/// A list of hosts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    reason: String,
    routes: Vec<At<raw::Route>>,
}

/// A preset of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What it is for.
    pub reason: String,
    /// Its hosts.
    pub routes: Vec<Route>,
}

/// All of them, by name. That the text can be read is for a test.
static PRESETS: LazyLock<BTreeMap<String, Preset>> = LazyLock::new(|| read().unwrap_or_default());

fn read() -> Result<BTreeMap<String, Preset>, Problem> {
    let raw: BTreeMap<String, Raw> = yaml::parse(include_str!("presets.yaml"))?;
    let preset =
        |(name, raw): (String, Raw)| Ok((name, Preset { routes: route::parse_routes(&raw.routes, Base::BUILT_IN)?, reason: raw.reason }));
    raw.into_iter().map(preset).collect()
}

/// All of them, by name.
pub fn all() -> &'static BTreeMap<String, Preset> {
    &PRESETS
}

/// The hosts of a preset. An agent whose program is no provider's needs none of its own.
pub fn routes(name: &At<String>, provider: Option<&Provider>) -> Result<Vec<Route>, Problem> {
    if name.value == AGENT {
        return Ok(provider.map(|provider| provider.routes.clone()).unwrap_or_default());
    }
    let Some(preset) = all().get(&name.value) else {
        let known = std::iter::once(AGENT).chain(all().keys().map(String::as_str));
        let hint = suggest::among(&name.value, known, "the presets are");
        return Err(name.problem(format!("there is no preset `{}`", Untrusted::new(&name.value)), hint));
    };
    Ok(preset.routes.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: W22
    #[test]
    fn each_preset_reads_has_a_reason_and_lets_nothing_be_published() {
        let presets = read().unwrap();
        let names: Vec<&str> = presets.keys().map(String::as_str).collect();
        assert_eq!(names, ["crates", "debian", "github", "gitlab", "go", "huggingface", "maven", "npm", "pypi", "rubygems"]);
        for (name, preset) in presets {
            assert!(!preset.reason.is_empty() && !preset.routes.is_empty(), "{name}");
            for route in preset.routes {
                let methods: Vec<&str> = route.matches.iter().flat_map(|m| &m.methods).map(String::as_str).collect();
                assert_eq!((methods, route.auth), (vec!["GET", "HEAD"], None), "{name}: {}", route.host);
            }
        }
    }
}
