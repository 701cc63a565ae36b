//! The key `git`, and those below it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Auth;
use crate::manifest::measure;
use crate::yaml::{At, written, written_list};

/// Repositories behind the gate.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// The repositories.
    #[serde(default, deserialize_with = "written_list")]
    pub repos: Option<Vec<At<Repo>>>,
    /// The identity of the agent's commits; `agent` by default.
    #[serde(default, deserialize_with = "written")]
    pub author: Option<Author>,
}

/// The identity of commits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Author {
    /// A name.
    pub name: At<String>,
    /// An address.
    pub email: At<String>,
}

/// A repository behind the gate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repo {
    /// Its name at the gate.
    pub name: At<String>,
    /// `ssh://user@host/path` or `https://host/path`.
    pub upstream: At<String>,
    /// The private key for SSH.
    #[serde(default, deserialize_with = "written")]
    pub identity: Option<At<String>>,
    /// The upstream's SSH host key, `algorithm base64`. Required for SSH: nothing is trusted on first use.
    #[serde(default, deserialize_with = "written")]
    pub host_key: Option<At<String>>,
    /// The credential for an upstream over HTTPS. The agent never sees it.
    #[serde(default, deserialize_with = "written")]
    pub auth: Option<At<Auth>>,
    /// `address:port` to dial for this upstream, instead of what its name resolves to.
    #[serde(default, deserialize_with = "written")]
    pub connect: Option<At<String>>,
    /// What may be pushed. Without it: nothing.
    #[serde(default, deserialize_with = "written_list")]
    pub push: Option<Push>,
}

/// What may be pushed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// Full ref names; a star matches any text: `refs/heads/agent/*`.
    #[serde(default, deserialize_with = "written_list")]
    pub allow: Option<Vec<At<String>>>,
    /// Allow new refs; true by default.
    #[serde(default = "yes")]
    pub create: bool,
    /// Allow fast-forwards; true by default.
    #[serde(default = "yes")]
    pub update: bool,
    /// Allow other updates, and updates of tags.
    #[serde(default)]
    pub force: bool,
    /// Allow deletions.
    #[serde(default)]
    pub delete: bool,
    /// Allow push options, which some servers act on.
    #[serde(default)]
    pub options: bool,
    /// Allow commits and tags of other committers than `git.author`.
    #[serde(default)]
    pub other_committers: bool,
    /// The largest pack of one push, as in `500MiB`; 2 GiB by default.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = measure::SIZE))]
    pub size: Option<At<String>>,
    /// The most objects of one push; a million by default.
    #[serde(default, deserialize_with = "written")]
    #[schemars(range(min = 1))]
    pub objects: Option<At<u64>>,
}

fn yes() -> bool {
    true
}

impl Default for Push {
    /// An empty `push:` allows nothing.
    fn default() -> Self {
        Self {
            allow: None,
            create: true,
            update: true,
            force: false,
            delete: false,
            options: false,
            other_committers: false,
            size: None,
            objects: None,
        }
    }
}
