//! The verdict of `egress` on one request.

use std::borrow::Cow;

use bottle_contract::Untrusted;
use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_contract::route::{self, Route};
use http::HeaderMap;

use crate::push::{self, decoded};
use crate::refused::Refused;
use crate::target::Target;

/// Admits a `CONNECT` target if a route names it.
pub fn admit(routes: &[Route], host: &Host, port: u16) -> Result<(), Refused> {
    route::for_host(routes, host, port).map(drop).map_err(|reason| refused(reason, host, port, "", ""))
}

/// The route that allows the request.
pub fn judge<'r>(routes: &'r [Route], asked: &Target, method: &str, headers: &HeaderMap) -> Result<&'r Route, Refused> {
    let (host, port, path) = (&asked.host, asked.port, asked.path.as_str());
    let as_method = |method: &str| {
        route::judge(routes, route::Target { https: asked.https, host, port, method, path }).map_err(|reason| {
            let rule = route::for_host(routes, host, port).ok().map(|route| route.host.to_string());
            Refused { rule, ..refused(reason, host, port, method, path) }
        })
    };
    let route = as_method(method)?;
    let query = asked.query.as_deref().unwrap_or_default();
    push::refuse(method, path, query, headers)?;
    // Some frameworks take the method from the query: both must be allowed.
    for other in values(query, "_method") {
        as_method(&other.to_ascii_uppercase()).map_err(|refused| refused.place("query"))?;
    }
    Ok(route)
}

fn refused(reason: Reason, host: &Host, port: u16, method: &str, path: &str) -> Refused {
    let message = match reason {
        Reason::HostNotListed => format!("no route names {host}"),
        Reason::PortNotListed => format!("the route for {host} does not name port {port}"),
        Reason::MethodNotAllowed => format!("the route for {host} does not allow {method} {}", Untrusted::new(path)),
        _ => format!("the route for {host} does not allow {}", Untrusted::new(path)),
    };
    Refused::new(reason, message)
}

/// The values of one key of a query.
fn values<'q>(query: &'q str, key: &str) -> Vec<Cow<'q, str>> {
    let pairs = query.split(['&', ';']).filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| decoded(name) == key).map(|(_, value)| decoded(value)).collect()
}

#[cfg(test)]
mod tests {
    use bottle_contract::route::{DEFAULT_PORTS, Match, PathRule};

    use super::*;

    fn asked(path: &str, query: Option<&str>) -> Target {
        Target { https: true, host: Host::parse("git.test").unwrap(), port: 443, path: path.into(), query: query.map(Into::into) }
    }

    fn verdict(routes: &[Route], method: &str, path: &str, query: Option<&str>) -> Result<(), Reason> {
        judge(routes, &asked(path, query), method, &HeaderMap::new()).map(drop).map_err(|refused| refused.reason)
    }

    fn open() -> Vec<Route> {
        vec![Route { host: "git.test".parse().unwrap(), ports: DEFAULT_PORTS.to_vec(), matches: vec![], auth: None }]
    }

    // covers: A02
    #[test]
    fn a_push_over_https_is_refused_on_every_route() {
        assert_eq!(verdict(&open(), "POST", "/a.git/git-receive-pack;x=1", None), Err(Reason::GitPushBypass));
        assert_eq!(verdict(&open(), "GET", "/a.git/info/refs", Some("service=git-receive-pack")), Err(Reason::GitPushBypass));
        assert_eq!(verdict(&open(), "GET", "/a.git/info/refs", Some("service=git-upload-pack")), Ok(()));
    }

    // covers: H13
    #[test]
    fn a_method_in_the_query_must_be_allowed_too() {
        let mut routes = open();
        routes[0].matches = vec![Match { methods: vec!["GET".into()], paths: vec![PathRule::Prefix("/v1/".into())] }];
        assert_eq!(verdict(&routes, "GET", "/v1/x", Some("_method=get")), Ok(()));
        assert_eq!(verdict(&routes, "GET", "/v1/x", Some("a=b&_method=DELETE")), Err(Reason::MethodNotAllowed));
        assert_eq!(verdict(&routes, "GET", "/v1/x", Some("%5Fmethod=%44ELETE")), Err(Reason::MethodNotAllowed));
        assert_eq!(verdict(&routes, "DELETE", "/v1/x", None), Err(Reason::MethodNotAllowed));
        assert_eq!(verdict(&routes, "GET", "/v2/x", None), Err(Reason::PathNotAllowed));
    }
}
