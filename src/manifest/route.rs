//! Parses the routes of a manifest.

use std::net::{IpAddr, SocketAddr};

use bottle_contract::host::{Host, split_port};
use bottle_contract::route::{DEFAULT_PORTS, Match, OnSecret, PathRule};
use bottle_contract::{HostPattern, path};
use bottle_policy::credential_header::{self, Unfit};
use bottle_policy::guard;

use super::host_path::{self, Base};
use super::model::{Auth, Parent, Route, RouteOrigin};
use super::{raw, token};
use crate::suggest;
use crate::yaml::{At, Problem};

/// The methods of RFC 9110 and RFC 5789, for "did you mean"; `CONNECT` is judged by its host alone.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

const NO_METADATA: &str = "metadata services are never reachable; there is no exception";

/// Parses the routes. Two routes for one host are an error, because only one could decide.
pub fn parse_routes(rows: &[At<raw::Route>], base: Base<'_>) -> Result<Vec<Route>, Problem> {
    let mut routes: Vec<Route> = Vec::new();
    for row in rows {
        let route = route(&row.value, base)?;
        if routes.iter().any(|other| other.host == route.host) {
            return Err(row.value.host.problem(format!("a second route for `{}`", route.host), "put all `matches` of a host in one route"));
        }
        routes.push(route);
    }
    Ok(routes)
}

fn route(raw: &raw::Route, base: Base<'_>) -> Result<Route, Problem> {
    let (host, ports) = host(&raw.host)?;
    if raw.auth.is_some() && covers_strangers(&host) {
        return Err(raw
            .host
            .problem(format!("a credential for every host that `{host}` names"), "name the host that the credential is for"));
    }
    if matches!(&host, HostPattern::Exact(Host::Ip(ip)) if guard::refuse_chosen(*ip).is_err()) {
        return Err(raw.host.problem("the address of a metadata service", NO_METADATA));
    }
    Ok(Route {
        matches: raw.matches.as_ref().map_or(Ok(Vec::new()), |rows| matches(rows, &raw.host))?,
        auth: raw.auth.as_ref().map(|raw| auth(raw, base)).transpose()?,
        connect: raw.connect.as_ref().map(address).transpose()?,
        on_secret: raw.on_secret.as_ref().map(|action| action.value.into()),
        ask: raw.ask.as_ref().is_some_and(|ask| ask.value),
        host,
        ports,
        from: RouteOrigin::default(),
    })
}

impl From<raw::OnSecret> for OnSecret {
    fn from(raw: raw::OnSecret) -> Self {
        match raw {
            raw::OnSecret::Refuse => Self::Refuse,
            raw::OnSecret::Redact => Self::Redact,
        }
    }
}

/// True for `*` and `*.com`: names of many owners.
fn covers_strangers(host: &HostPattern) -> bool {
    match host {
        HostPattern::Any => true,
        HostPattern::Suffix(suffix) => !suffix.contains('.'),
        HostPattern::Exact(_) => false,
    }
}

fn host(text: &At<String>) -> Result<(HostPattern, Vec<u16>), Problem> {
    const HINT: &str = "write a name, \"*.suffix\" or an address, and `:port` if it is neither 443 nor 80; no scheme, no path";
    if text.value.contains("://") || text.value.contains('/') {
        return Err(text.problem("a URL instead of a host", HINT));
    }
    let (name, port) = split_port(&text.value).ok_or_else(|| text.problem("the port is not a number from 1 to 65535", HINT))?;
    let pattern: HostPattern = name.parse().map_err(|error: bottle_contract::host::HostError| text.problem(error.to_string(), HINT))?;
    match port {
        Some(port) => Ok((pattern, vec![port])),
        None => Ok((pattern, DEFAULT_PORTS.to_vec())),
    }
}

/// An empty list looks like "nothing" but would mean "everything", so it is an error at each level.
fn matches(rows: &[At<raw::Match>], host: &At<String>) -> Result<Vec<Match>, Problem> {
    const HINT: &str = "remove the key to allow everything, or list what is allowed";
    if rows.is_empty() {
        return Err(host.problem("`matches` of this route is empty", HINT));
    }
    let one = |row: &At<raw::Match>| {
        let raw::Match { methods, paths } = &row.value;
        if methods.is_none() && paths.is_none() {
            return Err(row.problem("a match without `methods` and `paths`", HINT));
        }
        for (name, list) in [("methods", methods), ("paths", paths)] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                return Err(row.problem(format!("`{name}` of this match is empty"), HINT));
            }
        }
        Ok(Match {
            methods: methods.iter().flatten().map(method).collect::<Result<_, _>>()?,
            paths: paths.iter().flatten().map(path_rule).collect::<Result<_, _>>()?,
        })
    };
    rows.iter().map(one).collect()
}

fn method(text: &At<String>) -> Result<String, Problem> {
    let name = text.value.as_str();
    if name == "CONNECT" {
        return Err(text.problem("CONNECT cannot be in a match", "tunnels are judged by host; list the methods inside the tunnel"));
    }
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
        let hint = match suggest::nearest(name, METHODS) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "method names are upper case, as in GET".to_owned(),
        };
        return Err(text.problem("not a method's name", hint));
    }
    Ok(name.to_owned())
}

pub(super) fn path_rule(text: &At<String>) -> Result<PathRule, Problem> {
    if text.value.contains('*') {
        return Err(text.problem("paths have no wildcards", "end the path with `/` to allow all below it"));
    }
    if text.value.contains('?') {
        return Err(text.problem("a query in a path", "only the path is judged; remove the query"));
    }
    let canonical =
        path::canonical(&text.value).map_err(|error| text.problem(error.to_string(), "write it as in /repos/acme/ or /graphql"))?;
    Ok(if canonical.ends_with('/') { PathRule::Prefix(canonical) } else { PathRule::Exact(canonical) })
}

/// Reads a credential, by name.
pub(super) fn auth(raw: &At<raw::Auth>, base: Base<'_>) -> Result<Auth, Problem> {
    let (header, scheme) = place(raw.value.header.as_ref(), raw.value.scheme.as_ref())?;
    let (token_ref, source) = token::read(raw, base)?;
    Ok(Auth { header, scheme, token_ref, source })
}

/// Where a credential goes: the header, and the word before the value.
pub(super) fn place(header: Option<&At<String>>, scheme: Option<&At<String>>) -> Result<(String, Option<String>), Problem> {
    let header = header.map_or_else(|| Ok("authorization".to_owned()), self::header)?;
    let scheme = match scheme {
        None => (header == "authorization").then(|| "Bearer".to_owned()),
        Some(text) => self::scheme(text)?,
    };
    Ok((header, scheme))
}

fn header(text: &At<String>) -> Result<String, Problem> {
    credential_header::parse(&text.value).map(|name| name.as_str().to_owned()).map_err(|unfit| match unfit {
        Unfit::NotAName => text.problem("not a header's name", "write the name only, as in x-api-key"),
        Unfit::Reserved => {
            let what = format!("no credential may go into `{}`", text.value.to_ascii_lowercase());
            text.problem(what, "write the header that the origin reads it from, as in x-api-key")
        }
    })
}

/// Normalises `Basic` and `Bearer`, because `Basic` changes the encoding of the value.
fn scheme(text: &At<String>) -> Result<Option<String>, Problem> {
    let name = text.value.as_str();
    if name == "none" {
        return Ok(None);
    }
    if !is_token(name) {
        return Err(text.problem("not an authentication scheme", "write one word, as in Bearer, or none"));
    }
    let usual = ["Bearer", "Basic"].into_iter().find(|known| known.eq_ignore_ascii_case(name));
    Ok(Some(usual.unwrap_or(name).to_owned()))
}

/// A token of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Parses the proxy behind pipelock.
pub fn parent(raw: &raw::Proxy, base: Base<'_>) -> Result<Parent, Problem> {
    Ok(Parent { address: address(&raw.address)?, ca: raw.ca.as_ref().map(|path| host_path::file(path, base)).transpose()? })
}

/// Parses an address that bypasses the guard, so metadata services are refused here.
pub(super) fn address(text: &At<String>) -> Result<SocketAddr, Problem> {
    const HINT: &str = "write an address and a port, as in 192.0.2.7:3128 or [2001:db8::7]:3128";
    let address: SocketAddr = text.value.parse().map_err(|_| text.problem("not an address and a port", HINT))?;
    let ip = address.ip().to_canonical();
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255, 255, 255, 255]) {
        return Err(text.problem("an address that cannot be dialled", HINT));
    }
    if guard::refuse_chosen(ip).is_err() {
        return Err(text.problem("the address of a metadata service", NO_METADATA));
    }
    Ok(address)
}
