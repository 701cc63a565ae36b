//! Judges a request for `egress`.

use std::borrow::Cow;

use bottle_contract::Untrusted;
use bottle_contract::host::Host;
use bottle_contract::path::{hides_dots, requested};
use bottle_contract::reason::Reason;
use bottle_contract::route::{Auth, Match, Route};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Uri};

use crate::overrides;
use crate::own;
use crate::place::Place;
use crate::push::{self, decoded};
use crate::refused::Refused;
use crate::target::{Target, split_authority};

/// Admits a `CONNECT` target if a route names it.
pub fn admit(routes: &[Route], host: &Host, port: u16) -> Result<(), Refused> {
    for_host(routes, host, port).map(drop).map_err(|reason| refused(reason, host, port, "", ""))
}

/// The index of the route that allows the request. Only the route with the most specific pattern for the host decides.
pub fn judge(routes: &[Route], target: &Target, method: &str, headers: &HeaderMap) -> Result<usize, Refused> {
    let (host, port, path) = (&target.host, target.port, target.path.as_str());
    let index = for_host(routes, host, port).map_err(|reason| refused(reason, host, port, method, path))?;
    let route = &routes[index];
    let judge_both = |method: &str, path: &str| {
        let rule = |reason| refused(reason, host, port, method, path).rule(route.host.to_string());
        check_matches(route, method, path).map_err(rule)
    };
    let judge_method = |method: &str| judge_both(method, path);
    let judge_path = |path: &str| judge_both(method, path);
    judge_method(method)?;
    let query = target.query.as_deref().unwrap_or_default();
    push::refuse(method, path, query, headers)?;
    for (name, other) in overrides::methods(headers) {
        judge_method(&other).map_err(|refused| refused.place(Place::Header(name.clone())))?;
    }
    judge_destination(route, target, headers, &judge_path)?;
    // Some frameworks take the method from the query, so both must be allowed.
    for other in values(query, "_method") {
        judge_method(&other.to_ascii_uppercase()).map_err(|refused| refused.place(Place::Query))?;
    }
    Ok(index)
}

/// WebDAV's COPY and MOVE name a second path (RFC 4918, section 10.3), which the route must allow as well.
fn judge_destination(
    route: &Route,
    target: &Target,
    headers: &HeaderMap,
    judge_path: &dyn Fn(&str) -> Result<(), Refused>,
) -> Result<(), Refused> {
    if route.matches.is_empty() {
        return Ok(());
    }
    let name = HeaderName::from_static("destination");
    for value in headers.get_all(&name) {
        let place = || Place::Header(name.clone());
        let other = |why: &str| Refused::new(Reason::AmbiguousTarget, format!("the field destination {why}")).place(place());
        let uri: Uri = value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| other("cannot be read"))?;
        let agrees = |authority: &Authority| split_authority(authority.as_str()).is_ok_and(|(host, _)| host == target.host);
        if !uri.authority().is_none_or(agrees) {
            return Err(other("names another host"));
        }
        let path = requested(uri.path()).map_err(|error| other(&format!("cannot be read: {error}")))?;
        judge_path(&path).map_err(|refused| refused.place(place()))?;
    }
    Ok(())
}

/// The credential of an allowed request. Never sent over plain HTTP.
pub fn credential(route: &Route, https: bool) -> Option<&Auth> {
    route.auth.as_ref().filter(|_| https)
}

/// The index of the route that names the host and port.
pub(crate) fn for_host(routes: &[Route], host: &Host, port: u16) -> Result<usize, Reason> {
    let named = routes.iter().enumerate().filter(|(_, route)| route.host.matches(host));
    let (index, route) = named.min_by_key(|(_, route)| route.host.breadth()).ok_or(Reason::HostNotListed)?;
    if route.ports.contains(&port) { Ok(index) } else { Err(Reason::PortNotListed) }
}

/// Whether one of a route's matches fits both the method and the canonical path.
fn check_matches(route: &Route, method: &str, path: &str) -> Result<(), Reason> {
    let matches = &route.matches;
    let method_fits = |m: &&Match| m.methods.is_empty() || m.methods.iter().any(|name| name == method);
    let path_fits = |m: &&Match| m.paths.is_empty() || m.paths.iter().any(|rule| rule.fits(path));
    let names_paths = matches.iter().any(|m| !m.paths.is_empty());
    // Servers join slashes, and decode more than they should: where paths count, they are read in one way only.
    if names_paths && (path.starts_with("//") || hides_dots(path)) {
        return Err(Reason::PathNotAllowed);
    }
    let is_open = matches.is_empty() && !route.ask;
    if is_open || matches.iter().any(|m| method_fits(&m) && path_fits(&m)) {
        Ok(())
    } else if matches.iter().any(|m| path_fits(&m)) {
        Err(Reason::MethodNotAllowed)
    } else {
        Err(Reason::PathNotAllowed)
    }
}

fn refused(reason: Reason, host: &Host, port: u16, method: &str, path: &str) -> Refused {
    let message = match reason {
        Reason::HostNotListed if own::is_loopback(host) => {
            format!("{host} is this bottle's own machine: ask it directly, without the proxy")
        }
        Reason::HostNotListed => format!("no route names {host}"),
        Reason::PortNotListed => format!("the route for {host} does not name port {port}"),
        Reason::MethodNotAllowed => format!("the route for {host} does not allow {method} {}", Untrusted::new(path)),
        _ if path.starts_with("//") => {
            format!(
                "the route for {host} names paths, and {} begins with two slashes: does your base URL end with one?",
                Untrusted::new(path)
            )
        }
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
    use bottle_contract::route::{DEFAULT_PORTS, PathRule};

    use super::*;

    fn asked(path: &str, query: Option<&str>) -> Target {
        Target { https: true, host: Host::parse("git.test").unwrap(), port: 443, path: path.into(), query: query.map(Into::into) }
    }

    fn verdict(routes: &[Route], method: &str, path: &str, query: Option<&str>) -> Result<(), Reason> {
        judge(routes, &asked(path, query), method, &HeaderMap::new()).map(drop).map_err(|refused| refused.reason)
    }

    fn open() -> Vec<Route> {
        vec![Route { host: "git.test".parse().unwrap(), ports: DEFAULT_PORTS.to_vec(), matches: vec![], auth: None, ask: false }]
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

    fn route(host: &str, matches: Vec<Match>) -> Route {
        Route { host: host.parse().unwrap(), ports: DEFAULT_PORTS.to_vec(), matches, auth: None, ask: false }
    }

    /// The host of the route that decides.
    fn most_specific(routes: &[Route], host: &str, port: u16, method: &str, path: &str) -> Result<String, Reason> {
        let target = Target { https: true, host: Host::parse(host).unwrap(), port, path: path.into(), query: None };
        judge(routes, &target, method, &HeaderMap::new()).map(|index| routes[index].host.to_string()).map_err(|refused| refused.reason)
    }

    #[test]
    fn the_most_specific_route_decides_alone() {
        let reads =
            Match { methods: vec!["GET".into()], paths: vec![PathRule::Prefix("/repos/acme/".into()), PathRule::Exact("/user".into())] };
        let writes = Match { methods: vec!["POST".into()], paths: vec![PathRule::Exact("/graphql".into())] };
        let routes = [route("*", vec![]), route("*.a.test", vec![]), route("api.a.test", vec![reads, writes])];
        assert_eq!(most_specific(&routes, "api.a.test", 443, "GET", "/repos/acme/x"), Ok("api.a.test".into()));
        assert_eq!(most_specific(&routes, "api.a.test", 443, "POST", "/graphql"), Ok("api.a.test".into()));
        assert_eq!(most_specific(&routes, "api.a.test", 443, "POST", "/user"), Err(Reason::MethodNotAllowed));
        assert_eq!(most_specific(&routes, "api.a.test", 443, "GET", "/repos/acme"), Err(Reason::PathNotAllowed));
        assert_eq!(most_specific(&routes, "api.a.test", 443, "GET", "/user/x"), Err(Reason::PathNotAllowed));
        assert_eq!(most_specific(&routes, "api.a.test", 8443, "GET", "/user"), Err(Reason::PortNotListed));
        assert_eq!(most_specific(&routes, "x.a.test", 80, "PUT", "/"), Ok("*.a.test".into()));
        assert_eq!(most_specific(&routes, "b.test", 443, "PUT", "/"), Ok("*".into()));
    }

    #[test]
    fn a_route_that_asks_allows_only_what_its_matches_name() {
        let mut routes = open();
        routes[0].ask = true;
        assert_eq!(verdict(&routes, "GET", "/", None), Err(Reason::PathNotAllowed));
        routes[0].matches = vec![Match { methods: vec!["GET".into()], paths: vec![] }];
        assert_eq!(verdict(&routes, "GET", "/", None), Ok(()));
        assert_eq!(verdict(&routes, "PUT", "/", None), Err(Reason::MethodNotAllowed));
    }

    // covers: F20
    #[test]
    fn an_empty_table_denies_everything() {
        assert_eq!(most_specific(&[], "a.test", 443, "GET", "/"), Err(Reason::HostNotListed));
    }
}
