//! Judges a request for `egress` by the table, and by grants what the table lacks.
//!
//! A grant only adds: what the table allows needs no grant, and a refusal for another reason than a missing route stays one.

use bottle_contract::grant::Grant;
use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_contract::route::Route;
use http::HeaderMap;

use crate::refused::Refused;
use crate::routes;
use crate::target::Target;

/// What may be asked of the origins.
#[derive(Clone, Copy, Debug)]
pub struct Table<'t> {
    /// The routes.
    pub routes: &'t [Route],
    /// What was approved beside them.
    pub grants: &'t [Grant],
}

/// Why a request is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The route that allows it; with a grant, the one whose credential it carries, if any.
    pub route: Option<usize>,
    /// The grant without which it would be refused.
    pub grant: Option<usize>,
}

/// True for a reason that is a missing route, which a grant can stand in for.
pub fn is_missing_route(reason: Reason) -> bool {
    matches!(reason, Reason::HostNotListed | Reason::PortNotListed | Reason::MethodNotAllowed | Reason::PathNotAllowed)
}

impl Table<'_> {
    /// Admits a `CONNECT` target if a route or a grant names it.
    pub fn admit(&self, host: &Host, port: u16) -> Result<(), Refused> {
        routes::admit(self.routes, host, port).or_else(|refused| {
            let granted = self.grants.iter().any(|grant| grant.route.host.matches(host) && grant.route.ports.contains(&port));
            if granted { Ok(()) } else { Err(refused) }
        })
    }

    /// Judges a request; a grant counts only while it `is_open`. All of a request must be allowed by one row.
    pub fn judge(&self, target: &Target, method: &str, headers: &HeaderMap, is_open: impl Fn(&Grant) -> bool) -> Result<Verdict, Refused> {
        let refused = match routes::judge(self.routes, target, method, headers) {
            Ok(index) => return Ok(Verdict { route: Some(index), grant: None }),
            Err(refused) if is_missing_route(refused.reason) => refused,
            Err(refused) => return Err(refused),
        };
        let allows = |grant: &Grant| is_open(grant) && routes::judge(std::slice::from_ref(&grant.route), target, method, headers).is_ok();
        let grant = self.grants.iter().position(allows).ok_or(refused)?;
        Ok(Verdict { route: routes::for_host(self.routes, &target.host, target.port).ok(), grant: Some(grant) })
    }
}

#[cfg(test)]
mod tests {
    use bottle_contract::route::{Auth, Match, PathRule};

    use super::*;

    fn route(host: &str, ports: &[u16], methods: &[&str], prefix: &str) -> Route {
        let methods = methods.iter().map(|method| (*method).to_owned()).collect();
        let matches = vec![Match { methods, paths: vec![PathRule::Prefix(prefix.into())] }];
        Route { host: host.parse().unwrap(), ports: ports.to_vec(), matches, auth: None, ask: false }
    }

    fn verdict(table: Table<'_>, method: &str, url: &str, is_open: bool) -> Result<(Option<usize>, Option<usize>), Reason> {
        let uri: http::Uri = url.parse().unwrap();
        let port = uri.port_u16().unwrap_or(443);
        let host = Host::parse(uri.host().unwrap()).unwrap();
        let target = Target { https: true, host, port, path: uri.path().into(), query: uri.query().map(Into::into) };
        let verdict = table.judge(&target, method, &HeaderMap::new(), |_| is_open);
        verdict.map(|verdict| (verdict.route, verdict.grant)).map_err(|refused| refused.reason)
    }

    #[test]
    fn a_grant_adds_to_the_table_and_takes_nothing_away() {
        let auth = Auth { header: "authorization".into(), scheme: None, slot: "S".into() };
        let routes = [Route { auth: Some(auth), ..route("api.test", &[443], &["GET"], "/v1/") }];
        let grants = [
            Grant { id: "a".into(), route: route("api.test", &[443, 8443], &["POST"], "/v1/x/"), uses: None },
            Grant { id: "b".into(), route: route("*.new.test", &[443], &["GET"], "/"), uses: Some(1) },
        ];
        let table = Table { routes: &routes, grants: &grants };
        for (method, url, expected) in [
            ("GET", "https://api.test/v1/x/y", Ok((Some(0), None))),
            ("POST", "https://api.test/v1/x/y", Ok((Some(0), Some(0)))),
            // The route's credential is for its own ports.
            ("POST", "https://api.test:8443/v1/x/y", Ok((None, Some(0)))),
            ("GET", "https://api.test:8443/v1/x/y", Err(Reason::PortNotListed)),
            ("POST", "https://api.test/v1/y", Err(Reason::MethodNotAllowed)),
            ("POST", "https://api.test/v1/x/y?_method=DELETE", Err(Reason::MethodNotAllowed)),
            ("POST", "https://api.test/v1/x/git-receive-pack", Err(Reason::MethodNotAllowed)),
            ("GET", "https://api.test/v1/x/git-receive-pack", Err(Reason::GitPushBypass)),
            ("GET", "https://a.new.test/", Ok((None, Some(1)))),
            ("GET", "https://new.test/", Err(Reason::HostNotListed)),
        ] {
            assert_eq!(verdict(table, method, url, true), expected, "{method} {url}");
        }
        assert_eq!(verdict(table, "GET", "https://a.new.test/", false), Err(Reason::HostNotListed));
        assert_eq!(verdict(table, "GET", "https://api.test/v1/", false), Ok((Some(0), None)));
        let admits = |host: &str, port| table.admit(&Host::parse(host).unwrap(), port).map_err(|refused| refused.reason);
        assert_eq!([admits("api.test", 443), admits("api.test", 8443), admits("a.new.test", 443)], [Ok(()), Ok(()), Ok(())]);
        assert_eq!([admits("a.new.test", 80), admits("b.test", 443)], [Err(Reason::HostNotListed), Err(Reason::HostNotListed)]);
    }
}
