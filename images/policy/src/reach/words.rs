//! An excess in words: one line, harmless for a terminal.

use std::fmt::{self, Display};

use bottle_contract::Untrusted;
use bottle_contract::route::DEFAULT_PORTS;

use super::{Ask, Credential, Excess, Method, Paths};

impl Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests { host, ports, asks, credential } => {
                write!(f, "{host}{}: {}", Ports(ports), list(asks, "; "))?;
                match credential {
                    Some(credential) => write!(f, "; {credential}"),
                    None => f.write_str("; no credential is sent"),
                }
            }
            Self::Credential { host, ports, credential } => write!(f, "{host}{}: {credential}", Ports(ports)),
            Self::Way { host, address: Some(address) } => write!(f, "{host}: {address} is dialled, whatever the name resolves to"),
            Self::Way { host, address: None } => write!(f, "{host}: the addresses that the name resolves to are dialled"),
            Self::Parent(Some(address)) => write!(f, "the proxy at {address} is used"),
            Self::Parent(None) => f.write_str("origins are dialled without a proxy"),
            Self::Repository { name, page, refs } => {
                write!(f, "git {}: fetches from {}", Untrusted::new(name), Untrusted::new(page))?;
                if refs.is_empty() { Ok(()) } else { write!(f, ", pushes to {}", texts(refs)) }
            }
            Self::Push { name, refs, also } => {
                write!(f, "git {}: ", Untrusted::new(name))?;
                match (refs.is_empty(), also.is_empty()) {
                    (false, true) => write!(f, "pushes to {}", texts(refs)),
                    (false, false) => write!(f, "pushes to {}; {}", texts(refs), texts(also)),
                    (true, _) => f.write_str(&texts(also)),
                }
            }
            Self::Unscanned { rules } => write!(f, "the rules for secrets in {} do not apply", Untrusted::new(rules)),
        }
    }
}

/// Ports, unless they are the usual ones.
struct Ports<'p>(&'p [u16]);

impl Display for Ports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut usual = DEFAULT_PORTS;
        usual.sort_unstable();
        match self.0 {
            ports if *ports == usual => Ok(()),
            [port] => write!(f, " on port {port}"),
            ports => write!(f, " on ports {}", list(ports, ", ")),
        }
    }
}

impl Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.methods {
            [] => f.write_str("every method")?,
            methods => f.write_str(&list(methods, ", "))?,
        }
        write!(f, " of {}", list(&self.paths, ", "))
    }
}

impl Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => Untrusted::new(name).fmt(f),
            Self::Other => f.write_str("every other method"),
        }
    }
}

impl Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("every path"),
            Self::Exact(path) => Untrusted::new(path).fmt(f),
            Self::Prefix(prefix) => write!(f, "{}*", Untrusted::new(prefix)),
            Self::Ambiguous => f.write_str("paths that servers read in different ways"),
        }
    }
}

impl Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the credential {} is sent in `{}`", Untrusted::new(&self.token), Untrusted::new(&self.header))
    }
}

fn list<T: Display>(items: &[T], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

fn texts(items: &[String]) -> String {
    items.iter().map(|item| Untrusted::new(item).to_string()).collect::<Vec<_>>().join(", ")
}
