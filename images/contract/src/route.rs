//! Routes: which host, method and path the agent may reach, and which credential is put in.

use serde::{Deserialize, Serialize};

use crate::host::{Host, HostPattern};
use crate::reason::Reason;

/// The ports of a route that names none: HTTPS and HTTP.
pub const DEFAULT_PORTS: [u16; 2] = [443, 80];

/// One row of the table that `egress` enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The hosts it names.
    pub host: HostPattern,
    /// The ports it names.
    pub ports: Vec<u16>,
    /// What may be asked there. Empty: every method and path.
    #[serde(default)]
    pub matches: Vec<Match>,
    /// The credential to put in.
    #[serde(default)]
    pub auth: Option<Auth>,
}

/// A set of methods and paths; a request must fit both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Upper-case method names. Empty: every method.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Paths in canonical form. Empty: every path.
    #[serde(default)]
    pub paths: Vec<PathRule>,
}

/// A path, or all that starts with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathRule {
    /// This path and no other.
    Exact(String),
    /// This path, which ends with a slash, and all below it.
    Prefix(String),
}

impl PathRule {
    /// True when the rule allows the canonical `path`.
    pub fn allows(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
        }
    }
}

/// Which credential to send, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The header's name in lower case, `authorization` unless the manifest names another.
    pub header: String,
    /// The word before the value, as in `Bearer`; none for headers like `x-api-key`. `Basic` takes a token of the
    /// form `user:password` and encodes it (RFC 7617).
    #[serde(default)]
    pub scheme: Option<String>,
    /// The file in [`crate::names::SECRETS_DIR`] that holds the value.
    pub slot: String,
}

/// What was asked for, each part in canonical form.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The scheme is `https`.
    pub https: bool,
    /// The host.
    pub host: &'a Host,
    /// The port.
    pub port: u16,
    /// The method, as sent.
    pub method: &'a str,
    /// The canonical path, without the query.
    pub path: &'a str,
}

/// The route that names the host and port; the most specific pattern decides, alone.
pub fn for_host<'r>(routes: &'r [Route], host: &Host, port: u16) -> Result<&'r Route, Reason> {
    let route = routes.iter().filter(|r| r.host.matches(host)).min_by_key(|r| r.host.breadth()).ok_or(Reason::HostNotListed)?;
    if route.ports.contains(&port) { Ok(route) } else { Err(Reason::PortNotListed) }
}

/// The route that allows `target`, or why none does.
pub fn judge<'r>(routes: &'r [Route], target: Target<'_>) -> Result<&'r Route, Reason> {
    let route = for_host(routes, target.host, target.port)?;
    if route.matches.is_empty() {
        return Ok(route);
    }
    let method_fits = |m: &&Match| m.methods.is_empty() || m.methods.iter().any(|name| name == target.method);
    let path_fits = |m: &&Match| m.paths.is_empty() || m.paths.iter().any(|rule| rule.allows(target.path));
    if route.matches.iter().any(|m| method_fits(&m) && path_fits(&m)) {
        Ok(route)
    } else if route.matches.iter().any(|m| path_fits(&m)) {
        Err(Reason::MethodNotAllowed)
    } else {
        Err(Reason::PathNotAllowed)
    }
}

impl Route {
    /// The credential for a request that this route allows: never over plain HTTP.
    pub fn credential(&self, https: bool) -> Option<&Auth> {
        self.auth.as_ref().filter(|_| https)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: &str, matches: Vec<Match>) -> Route {
        Route { host: host.parse().unwrap(), ports: DEFAULT_PORTS.to_vec(), matches, auth: None }
    }

    fn ask(routes: &[Route], host: &str, port: u16, method: &str, path: &str) -> Result<String, Reason> {
        let host = Host::parse(host).unwrap();
        judge(routes, Target { https: true, host: &host, port, method, path }).map(|r| r.host.to_string())
    }

    #[test]
    fn the_most_specific_route_decides_alone() {
        let reads =
            Match { methods: vec!["GET".into()], paths: vec![PathRule::Prefix("/repos/acme/".into()), PathRule::Exact("/user".into())] };
        let writes = Match { methods: vec!["POST".into()], paths: vec![PathRule::Exact("/graphql".into())] };
        let routes = [route("*", vec![]), route("*.a.test", vec![]), route("api.a.test", vec![reads, writes])];
        assert_eq!(ask(&routes, "api.a.test", 443, "GET", "/repos/acme/x"), Ok("api.a.test".into()));
        assert_eq!(ask(&routes, "api.a.test", 443, "POST", "/graphql"), Ok("api.a.test".into()));
        assert_eq!(ask(&routes, "api.a.test", 443, "POST", "/user"), Err(Reason::MethodNotAllowed));
        assert_eq!(ask(&routes, "api.a.test", 443, "GET", "/repos/acme"), Err(Reason::PathNotAllowed));
        assert_eq!(ask(&routes, "api.a.test", 443, "GET", "/user/x"), Err(Reason::PathNotAllowed));
        assert_eq!(ask(&routes, "api.a.test", 8443, "GET", "/user"), Err(Reason::PortNotListed));
        assert_eq!(ask(&routes, "x.a.test", 80, "PUT", "/"), Ok("*.a.test".into()));
        assert_eq!(ask(&routes, "b.test", 443, "PUT", "/"), Ok("*".into()));
    }

    // covers: F20
    #[test]
    fn an_empty_table_denies_everything() {
        assert_eq!(ask(&[], "a.test", 443, "GET", "/"), Err(Reason::HostNotListed));
    }
}
