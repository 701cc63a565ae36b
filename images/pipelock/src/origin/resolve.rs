//! Names to addresses, by the system's own configuration and never by a public resolver's.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Mutex;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};

/// A lookup under way: all addresses of a name, or why there are none.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + 'a>>;

/// Where addresses come from.
pub trait Resolve: Send + Sync + 'static {
    /// Looks up a name in canonical form, as it stands, without a search list.
    fn resolve<'a>(&'a self, name: &'a str) -> Lookup<'a>;
}

/// What `/etc/resolv.conf` and `/etc/hosts` say. Without the former every lookup fails.
#[derive(Default)]
pub struct System {
    resolver: Mutex<Option<TokioResolver>>,
}

impl System {
    /// Forgets what was read, so that the next lookup reads it again.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<TokioResolver>> {
        self.resolver.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn resolver(&self) -> Result<TokioResolver, String> {
        let mut resolver = self.lock();
        if let Some(resolver) = &*resolver {
            return Ok(resolver.clone());
        }
        let wrong = |error: &dyn std::fmt::Display| format!("the resolver's configuration cannot be read: {error}");
        let mut builder = TokioResolver::builder_tokio().map_err(|e| wrong(&e))?;
        let options = builder.options_mut();
        // Both families are asked for, so that a private answer in one cannot hide behind a public one in the other.
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Always;
        let built = builder.build().map_err(|e| wrong(&e))?;
        *resolver = Some(built.clone());
        Ok(built)
    }
}

impl Resolve for System {
    fn resolve<'a>(&'a self, name: &'a str) -> Lookup<'a> {
        Box::pin(async move {
            let resolver = self.resolver()?;
            // The final dot keeps the search list out of it.
            let found = resolver.lookup_ip(format!("{name}.")).await.map_err(|e| e.to_string())?;
            Ok(found.iter().collect())
        })
    }
}
