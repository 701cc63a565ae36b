//! The table in force: repositories, scanner and limits, replaced as one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bottle_contract::gate::{FILE, GateConfig, GateLimits, PushPolicy};
use bottle_policy::scanner;
use bottle_scan::Scanner;
use bottle_wire::reload::Generation;

use crate::upstream::{self, Link, Patience, Upstream};

/// One repository.
pub struct Repo {
    /// Its name at the gate.
    pub name: String,
    /// Where it really is.
    pub upstream: Upstream,
    /// Its URL on the web, without `.git`.
    pub page: String,
    /// What may be pushed.
    pub policy: PushPolicy,
}

/// One generation, never changed.
pub struct Table {
    /// Which one.
    pub generation: u64,
    /// Bounds.
    pub limits: GateLimits,
    /// Rules and the bottle's own secrets.
    pub scanner: Scanner,
    repos: Vec<Arc<Repo>>,
}

impl Table {
    /// Reads the configuration and every secret that it names.
    pub fn read(config: &Path, secrets: &Path) -> Result<Self, String> {
        let text = std::fs::read(config.join(FILE)).map_err(|error| format!("cannot read {FILE}: {error}"))?;
        let config: GateConfig = serde_json::from_slice(&text).map_err(|error| format!("{FILE} is not valid: {error}"))?;
        let link = Arc::new(Link::new(PathBuf::from(&config.link), Patience::from(&config.limits)));
        let tls = upstream::tls(&config.trust)?;
        let repo = |repo: bottle_contract::gate::Repo| {
            let upstream =
                Upstream::new(&repo.upstream, &link, &tls, secrets).map_err(|why| format!("repository {:?}: {why}", repo.name))?;
            Ok::<_, String>(Arc::new(Repo { name: repo.name, upstream, page: repo.upstream.page(), policy: repo.push }))
        };
        Ok(Self {
            generation: config.generation,
            limits: config.limits,
            scanner: scanner::build(&config.rules, config.fingerprints)?,
            repos: config.repos.into_iter().map(repo).collect::<Result<_, _>>()?,
        })
    }

    /// The repository of this name.
    pub fn repo(&self, name: &str) -> Option<Arc<Repo>> {
        self.repos.iter().find(|repo| repo.name == name).cloned()
    }
}

impl Generation for Table {
    fn generation(&self) -> u64 {
        self.generation
    }
}
