//! The policy in force: routes, credentials and the next hop, replaced as one.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bottle_contract::egress::{Asks, EgressConfig, FILE};
use bottle_contract::host::Host;
use bottle_contract::route::Route;
use bottle_policy::grants::Table;
use bottle_policy::{Refused, asks};
use bottle_wire::reload::Generation;
use bottle_wire::secret::{self, Credential};

use crate::next_hop::NextHop;

/// One generation, never changed.
pub(crate) struct EgressPolicy {
    pub(crate) config: EgressConfig,
    /// In the order of the configuration's routes.
    credentials: Vec<Option<Credential>>,
    pub(crate) next_hop: Arc<NextHop>,
}

impl EgressPolicy {
    /// Reads the configuration and every secret that it names. `before` lends its connections, if they lead to the
    /// same next hop.
    pub(crate) fn read(config: &Path, secrets: &Path, before: Option<&Self>) -> anyhow::Result<Self> {
        let text = std::fs::read(config.join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
        let config: EgressConfig = serde_json::from_slice(&text).with_context(|| format!("{FILE} is not valid"))?;
        ensure!(config.grants.iter().all(|grant| grant.route.auth.is_none()), "{FILE} is not valid: a grant brings a credential");
        let credentials = config.routes.iter().map(|route| credential(route, secrets)).collect::<anyhow::Result<_>>()?;
        let next_hop = match before {
            Some(before) if before.config.upstream == config.upstream => before.next_hop.clone(),
            _ => Arc::new(NextHop::new(&config.upstream, &config.limits)?),
        };
        Ok(Self { config, credentials, next_hop })
    }

    /// What it allows.
    pub(crate) fn table(&self) -> Table<'_> {
        Table { routes: &self.config.routes, grants: &self.config.grants }
    }

    /// How a person is asked about a request to this host that was refused so; `None` if nobody is.
    pub(crate) fn asks_about(&self, host: &Host, port: u16, refused: &Refused) -> Option<&Asks> {
        self.config.asks.as_ref().filter(|asks| asks::is_asked(asks, &self.config.routes, host, port, refused))
    }

    /// The credential of the route with this index.
    pub(crate) fn credential(&self, index: usize) -> Option<&Credential> {
        self.credentials[index].as_ref()
    }
}

fn credential(route: &Route, secrets: &Path) -> anyhow::Result<Option<Credential>> {
    let Some(auth) = &route.auth else { return Ok(None) };
    let secret = secret::read(secrets, &auth.slot)?;
    secret::credential(auth, &secret).map(Some).with_context(|| format!("route {}", route.host))
}

impl Generation for EgressPolicy {
    fn generation(&self) -> u64 {
        self.config.generation
    }
}
