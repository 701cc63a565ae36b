//! Judges one request by both policies without sending it, for `bottle check`.

use std::net::IpAddr;

use bottle_contract::host::Host;
use bottle_contract::names;
use bottle_contract::reason::Reason;
use bottle_contract::route::{OnSecret, Route};
use bottle_scan::Redacted;
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};

use crate::pipelock_policy::{PipelockPolicy, Way};
use crate::refused::Refused;
use crate::target::{Named, Peer, Target, connect_target, named};
use crate::{Leak, Place, head, own, push, routes};

/// The policies of one bottle.
#[derive(Clone, Copy, Debug)]
pub struct Policies<'a> {
    /// What `egress` enforces; none in a bottle whose agent dials `pipelock` itself.
    pub routes: Option<&'a [Route]>,
    /// What `pipelock` enforces.
    pub pipelock: &'a PipelockPolicy,
    /// The machine's own addresses.
    pub local: &'a [IpAddr],
}

/// A request that is not sent.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The method.
    pub method: &'a str,
    /// The URL, as a client takes it.
    pub url: &'a str,
    /// The body.
    pub body: Option<&'a [u8]>,
}

/// A request that both policies allow before name resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// The target that would be sent.
    pub target: Target,
    /// The route, and whether its credential would be injected.
    pub route: Option<(&'a Route, bool)>,
    /// The entry of pipelock's allowlist.
    pub listed: String,
    /// How the host would be reached.
    pub way: Way,
    /// What would be replaced in the body.
    pub redacted: Vec<Redacted>,
}

/// A request that one policy refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Which sidecar.
    pub component: &'static str,
    /// Its verdict.
    pub refused: Refused,
}

impl<'a> Policies<'a> {
    /// Judges a request, in the order of the proxies.
    pub fn evaluate(&self, query: Query<'_>) -> Result<Allowed<'a>, Denied> {
        let first = if self.routes.is_some() { names::EGRESS.0 } else { names::PIPELOCK.0 };
        let at = |component| move |refused| Denied { component, refused };
        let target = self.read(query).map_err(at(first))?;
        let route = match self.routes {
            None => None,
            Some(rows) => {
                let route = &rows[routes::judge(rows, &target, query.method, &HeaderMap::new()).map_err(at(first))?];
                Some((route, routes::credential(route, target.https).is_some()))
            }
        };
        let (listed, redacted) = self.door(&target, query).map_err(at(names::PIPELOCK.0))?;
        Ok(Allowed { route, listed, redacted, way: self.pipelock.way(&target.host, target.port), target })
    }

    /// Parses the URL the way the first proxy parses the request that a client would make of it.
    fn read(&self, query: Query<'_>) -> Result<Target, Refused> {
        let unclear = |why: &str| Refused::new(Reason::AmbiguousTarget, why).place(Place::Head);
        // A client does not send a fragment.
        let url = query.url.split('#').next().unwrap_or_default();
        let uri: Uri = url.parse().map_err(|error| unclear(&format!("the URL cannot be parsed: {error}")))?;
        let method = Method::from_bytes(query.method.as_bytes()).map_err(|_| unclear("the method is not a token"))?;
        let authority = uri.authority().ok_or_else(|| unclear("the URL names no host"))?.as_str().to_owned();
        let mut peer = Peer::Agent;
        let mut inner = uri.clone();
        if uri.scheme() == Some(&Scheme::HTTPS) {
            let has_port = uri.port().is_some() || authority.ends_with(':');
            let authority = if has_port { authority.clone() } else { format!("{authority}:443") };
            let authority: Uri = authority.parse().map_err(|_| unclear("the host cannot be parsed"))?;
            let (host, port) = connect_target(&parts(Method::CONNECT, authority, None)?)?;
            if own::is_own(&host, port) {
                return Err(own::refuse(&host.to_string()));
            }
            match self.routes {
                Some(rows) => routes::admit(rows, &host, port)?,
                None => self.pipelock.listed(&host, port).map(drop)?,
            }
            peer = Peer::Intercepted { https: true, host, port, refused: None };
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            inner = path.parse().map_err(|_| unclear("the path cannot be parsed"))?;
        }
        match named(&parts(method, inner, Some(&authority))?, &peer)? {
            Named::Origin(target) => Ok(target),
            Named::Own(target) => Err(own::refuse(&target.host.to_string())),
        }
    }

    fn door(&self, target: &Target, query: Query<'_>) -> Result<(String, Vec<Redacted>), Refused> {
        let listed = self.pipelock.listed(&target.host, target.port)?;
        let unclear = |_| Refused::new(Reason::AmbiguousTarget, "the target cannot be written as a URI").place(Place::Path);
        let uri: Uri = Uri::try_from(target.url()).map_err(unclear)?;
        if self.routes.is_none() {
            push::refuse(query.method, uri.path(), uri.query().unwrap_or_default(), &HeaderMap::new())?;
        }
        let request = parts(Method::from_bytes(query.method.as_bytes()).unwrap_or(Method::GET), uri, Some(&host_field(target)))?;
        head::scan(&self.pipelock.scanner, &request.method, &request.uri, &request.headers, None)?;
        let mut redacted = Vec::new();
        if let Some(body) = query.body {
            if body.len() as u64 > self.pipelock.limits.body_bytes {
                return Err(Refused::new(Reason::TooLarge, "the body is larger than this bottle allows").place(Place::Body));
            }
            let scanner = &self.pipelock.scanner;
            if let Some(found) = scanner.scan_message(None, body) {
                let leak = |found| Leak::in_text("body", found, scanner, body);
                if self.pipelock.on_secret(&target.host, &target.path) == OnSecret::Refuse {
                    return Err(leak(found).into());
                }
                let mut redactor = scanner.redactor(None);
                redactor.push(body).map_err(leak)?;
                redacted = redactor.finish().map_err(leak)?.1;
            }
        }
        self.pipelock.foresee(&target.host, target.port, self.local)?;
        Ok((listed, redacted))
    }
}

fn host_field(target: &Target) -> String {
    crate::target::authority(target.https, &target.host, target.port)
}

/// A request's head; `host` is its only header.
fn parts(method: Method, uri: Uri, host: Option<&str>) -> Result<Parts, Refused> {
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri) = (method, uri);
    if let Some(host) = host {
        let wrong = |_| Refused::new(Reason::AmbiguousTarget, "the host cannot be parsed").place(Place::Head);
        parts.headers.insert(header::HOST, HeaderValue::try_from(host).map_err(wrong)?);
    }
    Ok(parts)
}

/// True when the host name must be resolved and every address judged before a connection.
pub fn is_looked_up(allowed: &Allowed<'_>) -> bool {
    allowed.way == Way::Resolve && matches!(allowed.target.host, Host::Name(_))
}

#[cfg(test)]
mod tests {
    use bottle_contract::pipelock::PipelockConfig;
    use bottle_contract::route::{DEFAULT_PORTS, Match, PathRule};

    use super::*;

    fn policy() -> PipelockPolicy {
        let mut config = PipelockConfig::closed("test");
        config.api_allowlist = ["api.test", "10.0.0.7", "metadata.goog"].map(|host| host.parse().unwrap()).to_vec();
        PipelockPolicy::new(config).unwrap()
    }

    fn rows() -> Vec<Route> {
        let reads = Match { methods: vec!["GET".into()], paths: vec![PathRule::Prefix("/v1/".into())] };
        let route =
            |host: &str, matches| Route { host: host.parse().unwrap(), ports: DEFAULT_PORTS.to_vec(), matches, auth: None, ask: false };
        vec![route("api.test", vec![reads]), route("10.0.0.7", vec![]), route("metadata.goog", vec![]), route("only-egress.test", vec![])]
    }

    fn verdict(rows: Option<&[Route]>, method: &str, url: &str, body: Option<&[u8]>) -> Result<String, (&'static str, Reason)> {
        let policy = policy();
        let verdict = Policies { routes: rows, pipelock: &policy, local: &[] }.evaluate(Query { method, url, body });
        verdict.map(|allowed| allowed.target.url()).map_err(|denied| (denied.component, denied.refused.reason))
    }

    #[test]
    fn a_wish_gets_the_verdict_that_the_request_would_get() {
        let rows = rows();
        let key = format!("AKIA{}", "QWERTYUIOPASDFGH");
        let body = format!("{{\"key\": \"{key}\"}}");
        for (method, url, body, expected) in [
            ("GET", "https://api.test/v1/x", None, Ok("https://api.test/v1/x")),
            ("GET", "https://API.test:443/v1/%78?a=b#fragment", None, Ok("https://api.test/v1/x?a=b")),
            ("GET", "http://api.test/v1/", None, Ok("http://api.test/v1/")),
            ("GET", "https://api.test/v1/../admin", None, Err(("egress", Reason::AmbiguousTarget))),
            ("GET", "https://api.test/admin", None, Err(("egress", Reason::PathNotAllowed))),
            ("POST", "https://api.test/v1/x", None, Err(("egress", Reason::MethodNotAllowed))),
            ("GET", "https://api.test:8443/v1/x", None, Err(("egress", Reason::PortNotListed))),
            ("GET", "https://other.test/", None, Err(("egress", Reason::HostNotListed))),
            ("GET", "https://user:password@api.test/v1/", None, Err(("egress", Reason::AmbiguousTarget))),
            ("GET", "https://localhost/", None, Err(("egress", Reason::SelfRequest))),
            ("TRACE", "https://api.test/v1/", None, Err(("egress", Reason::MalformedRequest))),
            ("GET", "ftp://api.test/v1/", None, Err(("egress", Reason::AmbiguousTarget))),
            ("GET", "https://only-egress.test/", None, Err(("pipelock", Reason::HostNotListed))),
            ("GET", "https://10.0.0.7/", None, Err(("pipelock", Reason::AddressNotPublic))),
            ("GET", "https://metadata.goog/", None, Err(("pipelock", Reason::MetadataAddress))),
            ("GET", &format!("https://api.test/v1/?k={key}"), None, Err(("pipelock", Reason::SecretDetected))),
            ("GET", "https://api.test/v1/x", Some(body.as_bytes()), Err(("pipelock", Reason::SecretDetected))),
            ("GET", "https://api.test/v1/x", Some(&b"{\"key\": \"none\"}"[..]), Ok("https://api.test/v1/x")),
        ] {
            assert_eq!(verdict(Some(&rows), method, url, body), expected.map(str::to_owned), "{method} {url}");
        }
        assert_eq!(verdict(None, "GET", "https://api.test/anything", None), Ok("https://api.test/anything".into()));
        let push = "https://api.test/a.git/info/refs?service=git-receive-pack";
        assert_eq!(verdict(None, "GET", push, None), Err(("pipelock", Reason::GitPushBypass)));
    }
}
