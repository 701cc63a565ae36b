//! What the gate enforces: repositories, scanner and limits, replaced as one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bottle_contract::gate::{FILE, GateConfig, GateLimits, PushPolicy};
use bottle_policy::scanner;
use bottle_scan::Scanner;
use bottle_wire::reload::Generation;

use crate::upstream::{self, Timeouts, TunnelDialer, Upstream};

/// One repository.
pub struct Repo {
    /// Its name at the gate.
    pub name: String,
    /// Its server.
    pub upstream: Upstream,
    /// Its URL on the web, without `.git`.
    pub page: String,
    /// What may be pushed.
    pub policy: PushPolicy,
}

/// One generation of the policy. It never changes.
pub struct GatePolicy {
    /// Its number.
    pub generation: u64,
    /// Limits.
    pub limits: GateLimits,
    /// Rules and the bottle's own secrets.
    pub scanner: Scanner,
    scanner_source: scanner::Source,
    repos: Vec<Arc<Repo>>,
}

impl GatePolicy {
    /// Reads the configuration and the secrets that it names. The policy `before` lends its scanner, if that is the same.
    pub fn read(config: &Path, secrets: &Path, before: Option<&Self>) -> anyhow::Result<Self> {
        let text = std::fs::read(config.join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
        let config: GateConfig = serde_json::from_slice(&text).with_context(|| format!("{FILE} is not valid"))?;
        let dialer = Arc::new(TunnelDialer::new(PathBuf::from(&config.link), Timeouts::from(&config.limits)));
        let tls = upstream::tls(&config.trust)?;
        let repo = |repo: bottle_contract::gate::Repo| {
            let upstream = Upstream::new(&repo.upstream, &dialer, &tls, secrets).with_context(|| format!("repository {:?}", repo.name))?;
            anyhow::Ok(Arc::new(Repo { name: repo.name, upstream, page: repo.upstream.page(), policy: repo.push }))
        };
        let scanner_source = scanner::Source { rules: config.rules, fingerprints: config.fingerprints };
        let built = before.map(|before| (&before.scanner_source, &before.scanner));
        Ok(Self {
            generation: config.generation,
            limits: config.limits,
            scanner: scanner_source.build(built).map_err(anyhow::Error::msg)?,
            scanner_source,
            repos: config.repos.into_iter().map(repo).collect::<anyhow::Result<_>>()?,
        })
    }

    /// The repository of this name.
    pub fn repo(&self, name: &str) -> Option<Arc<Repo>> {
        self.repos.iter().find(|repo| repo.name == name).cloned()
    }
}

impl Generation for GatePolicy {
    fn generation(&self) -> u64 {
        self.generation
    }
}
