//! The table in force: routes, credentials and the next hop, replaced as one.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bottle_contract::Untrusted;
use bottle_contract::egress::{EgressConfig, FILE};
use bottle_contract::event::Level;
use bottle_contract::route::Route;
use bottle_wire::Events;

use crate::secret::{self, Credential};
use crate::upstream::Upstream;

/// One generation, never changed.
pub(crate) struct Table {
    pub(crate) config: EgressConfig,
    /// In the order of the configuration's routes.
    credentials: Vec<Option<Credential>>,
    pub(crate) upstream: Arc<Upstream>,
}

impl Table {
    /// Reads the configuration and every secret that it names. `before` lends its connections, if they lead to the
    /// same next hop.
    pub(crate) fn read(config: &Path, secrets: &Path, before: Option<&Self>) -> Result<Self, String> {
        let text = std::fs::read(config.join(FILE)).map_err(|error| format!("cannot read {FILE}: {error}"))?;
        let config: EgressConfig = serde_json::from_slice(&text).map_err(|error| format!("{FILE} is not valid: {error}"))?;
        let credentials = config.routes.iter().map(|route| credential(route, secrets)).collect::<Result<_, _>>()?;
        let upstream = match before {
            Some(before) if before.config.upstream == config.upstream => before.upstream.clone(),
            _ => Arc::new(Upstream::new(&config.upstream, &config.limits)?),
        };
        Ok(Self { config, credentials, upstream })
    }

    /// The credential of a route of this table.
    pub(crate) fn credential(&self, route: &Route) -> Option<&Credential> {
        let at = self.config.routes.iter().position(|other| std::ptr::eq(other, route))?;
        self.credentials[at].as_ref()
    }
}

fn credential(route: &Route, secrets: &Path) -> Result<Option<Credential>, String> {
    let Some(auth) = &route.auth else { return Ok(None) };
    let secret = secret::read(secrets, &auth.slot)?;
    secret::credential(auth, &secret).map(Some).map_err(|error| format!("route {}: {error}", route.host))
}

/// The table in force, and why the last reload did not change it, if so.
pub(crate) struct Live {
    table: RwLock<Arc<Table>>,
    trouble: RwLock<Option<String>>,
}

impl Live {
    pub(crate) fn new(table: Table) -> Self {
        Self { table: RwLock::new(Arc::new(table)), trouble: RwLock::new(None) }
    }

    /// The generation by which a request is judged from its start to its end.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the last reload failed.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads everything again, and uses it only if all of it is good and not older.
    pub(crate) fn reload(&self, config: &Path, secrets: &Path, events: &Events) {
        let old = self.table();
        let read = Table::read(config, secrets, Some(&old)).and_then(|new| {
            let (was, is) = (old.config.generation, new.config.generation);
            if is < was { Err(format!("{FILE} is of generation {is}, older than {was} in force")) } else { Ok(new) }
        });
        let (mut event, trouble) = match read {
            Ok(new) => {
                let mut event = Events::event(Level::Info, "reload");
                event.generation = Some(new.config.generation);
                *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                (event, None)
            }
            Err(error) => {
                let mut event = Events::event(Level::Error, "reload_failed");
                event.generation = Some(old.config.generation);
                (event, Some(Untrusted::new(&error).to_string()))
            }
        };
        event.message = trouble.clone();
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = trouble;
        events.write(&event);
    }
}
