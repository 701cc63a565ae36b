//! Names to addresses, by the system's own configuration and never by a public resolver's.

use std::fs::File;
use std::future::Future;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};

/// A lookup under way: all addresses of a name, or why there are none.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + 'a>>;

/// Where addresses come from.
pub trait Resolve: Send + Sync + 'static {
    /// Looks up a name in canonical form, as it stands, without a search list.
    fn resolve<'a>(&'a self, name: &'a str) -> Lookup<'a>;
}

/// Read for each lookup, so that a change counts at once and a long list costs no memory.
const HOSTS: &str = "/etc/hosts";
/// The most that is read of it; the longest lists of blocked hosts have a third of this.
const MAX_HOSTS_BYTES: u64 = 16 << 20;
/// How long one server may take for one family of addresses: a server that drops what it does not understand must not
/// use up the time for the other family.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// What `/etc/hosts` says, else what the servers of `/etc/resolv.conf` answer. Without the latter, what the former does
/// not name does not resolve.
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
        // Like the C library's: a name in the file is not asked for, in either family.
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = options.timeout.min(QUERY_TIMEOUT);
        options.attempts = options.attempts.min(2);
        let built = builder.build().map_err(|e| wrong(&e))?;
        *resolver = Some(built.clone());
        Ok(built)
    }
}

impl Resolve for System {
    fn resolve<'a>(&'a self, name: &'a str) -> Lookup<'a> {
        Box::pin(async move {
            let local = File::open(HOSTS).map(|file| in_hosts(BufReader::new(file.take(MAX_HOSTS_BYTES)), name)).unwrap_or_default();
            if !local.is_empty() {
                return Ok(local);
            }
            let resolver = self.resolver()?;
            // The final dot keeps the search list out of it.
            let found = resolver.lookup_ip(format!("{name}.")).await.map_err(|e| e.to_string())?;
            Ok(found.iter().collect())
        })
    }
}

/// The addresses of `name` in the format of hosts(5).
fn in_hosts(file: impl BufRead, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in file.split(b'\n').map_while(Result::ok) {
        let text = line.split(|byte| *byte == b'#').next().and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        let mut words = text.split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        if words.any(|word| word.strip_suffix('.').unwrap_or(word).eq_ignore_ascii_case(name)) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_is_read_as_its_manual_says() {
        let file = "# 1.1.1.1 a.test\n127.0.0.1\tlocalhost a.test # b.test\n::1 ip6-localhost A.TEST.\n10.0.0.1 xa.test\nfe80::1%lo0 c.test\n9.9.9.9 c.test";
        let find = |name| in_hosts(file.as_bytes(), name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(find("a.test"), ["127.0.0.1", "::1"]);
        assert_eq!(find("b.test"), [""; 0]);
        assert_eq!(find("c.test"), ["9.9.9.9"]);
    }
}
