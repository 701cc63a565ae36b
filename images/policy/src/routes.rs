//! The verdict of `egress` on one request.

use std::borrow::Cow;

use bottle_contract::Untrusted;
use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_contract::route::{self, Route};
use http::Uri;

use crate::refused::Refused;
use crate::target::Target;

/// Admits a `CONNECT` target if a route names it.
pub fn admit(routes: &[Route], host: &Host, port: u16) -> Result<(), Refused> {
    route::for_host(routes, host, port).map(drop).map_err(|reason| refused(reason, host, port, "", ""))
}

/// The route that allows the request.
pub fn judge<'r>(routes: &'r [Route], asked: &Target, method: &str) -> Result<&'r Route, Refused> {
    let (host, port, path) = (&asked.host, asked.port, asked.path.as_str());
    let as_method = |method: &str| {
        route::judge(routes, route::Target { https: asked.https, host, port, method, path }).map_err(|reason| {
            let rule = route::for_host(routes, host, port).ok().map(|route| route.host.to_string());
            Refused { rule, ..refused(reason, host, port, method, path) }
        })
    };
    let route = as_method(method)?;
    let query = asked.query.as_deref().unwrap_or_default();
    if pushes(path, query) {
        return Err(Refused::new(Reason::GitPushBypass, "a git push over HTTPS goes around git-gate").place("path"));
    }
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

/// True for both requests of a push (gitprotocol-http(5)), however the origin may decode the path.
fn pushes(path: &str, query: &str) -> bool {
    let path = decoded(path);
    let path = path.trim_end_matches('/');
    path.ends_with("/git-receive-pack") || (path.ends_with("/info/refs") && decoded(query).contains("git-receive-pack"))
}

/// The same for the door, which has no table of paths: the discovery of a push's service, or the service itself.
pub fn is_git_push(uri: &Uri) -> bool {
    let names_it = |text: &str| text.to_ascii_lowercase().contains("git-receive-pack");
    uri.path().rsplit('/').next().is_some_and(names_it) || uri.query().is_some_and(names_it)
}

/// The values of one key of a query.
fn values<'q>(query: &'q str, key: &str) -> Vec<Cow<'q, str>> {
    let pairs = query.split(['&', ';']).filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| decoded(name) == key).map(|(_, value)| decoded(value)).collect()
}

/// Decodes percent escapes, in lower case; what is no UTF-8 after that matches nothing here.
fn decoded(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|b| *b == b'%' || b.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use bottle_contract::route::{DEFAULT_PORTS, Match, PathRule};

    use super::*;

    fn asked(path: &str, query: Option<&str>) -> Target {
        Target { https: true, host: Host::parse("git.test").unwrap(), port: 443, path: path.into(), query: query.map(Into::into) }
    }

    fn verdict(routes: &[Route], method: &str, path: &str, query: Option<&str>) -> Result<(), Reason> {
        judge(routes, &asked(path, query), method).map(drop).map_err(|refused| refused.reason)
    }

    fn open() -> Vec<Route> {
        vec![Route { host: "git.test".parse().unwrap(), ports: DEFAULT_PORTS.to_vec(), matches: vec![], auth: None }]
    }

    #[test]
    fn a_push_over_https_is_refused_and_a_fetch_is_not() {
        let routes = open();
        for (method, path, query) in [
            ("GET", "/a.git/info/refs", Some("service=git-receive-pack")),
            ("GET", "/a.git/info/refs", Some("x=y&service=git%2Dreceive-pack")),
            ("GET", "/a.git/info/refs", Some("service=GIT-receive-pack")),
            ("GET", "/a.git/info%2Frefs", Some("service=git-receive-pack")),
            ("GET", "/a.git/info/refs/", Some("service=git-receive-pack")),
            ("POST", "/a.git/git-receive-pack", None),
            ("PUT", "/a.git%2Fgit-receive-pack/", None),
        ] {
            assert_eq!(verdict(&routes, method, path, query), Err(Reason::GitPushBypass), "{path} {query:?}");
        }
        for (method, path, query) in [
            ("GET", "/a.git/info/refs", Some("service=git-upload-pack")),
            ("POST", "/a.git/git-upload-pack", None),
            ("GET", "/docs/git-receive-pack.html", None),
            ("GET", "/search", Some("q=git-receive-pack")),
        ] {
            assert_eq!(verdict(&routes, method, path, query), Ok(()), "{path} {query:?}");
        }
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
