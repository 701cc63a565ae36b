//! Parses the target of a request, and refuses what parsers could read differently.

use bottle_contract::Untrusted;
use bottle_contract::host::{Host, HostPort};
use bottle_contract::path::{escape_bytes, query_is_sendable, requested};
use bottle_contract::reason::Reason;
use http::request::Parts;
use http::{HeaderMap, Method, Uri, Version, header};

use crate::own::is_own;
use crate::place::Place;
use crate::refused::Refused;

/// The target of a request in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The scheme is `https`.
    pub https: bool,
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// The canonical path.
    pub path: String,
    /// The query, unchanged.
    pub query: Option<String>,
}

impl Target {
    /// `https://api.github.com`, with the port unless it is the scheme's default.
    pub fn origin(&self) -> String {
        origin(self.https, &self.host, self.port)
    }

    /// `/path?query`.
    pub fn path_and_query(&self) -> String {
        match &self.query {
            None => self.path.clone(),
            Some(query) => [self.path.as_str(), "?", query].concat(),
        }
    }

    /// Whether `text` is [`path_and_query`](Self::path_and_query).
    pub fn is_path_and_query(&self, text: &str) -> bool {
        text.strip_prefix(&self.path).is_some_and(|rest| match &self.query {
            None => rest.is_empty(),
            Some(query) => rest.strip_prefix('?') == Some(query),
        })
    }

    /// `https://api.github.com/path?query`.
    pub fn url(&self) -> String {
        let query = self.query.as_deref();
        [self.origin().as_str(), &self.path, query.map_or("", |_| "?"), query.unwrap_or_default()].concat()
    }
}

/// `scheme://host[:port]`.
pub fn origin(https: bool, host: &Host, port: u16) -> String {
    [if https { "https://" } else { "http://" }, &authority(https, host, port)].concat()
}

/// `host`, or `host:port` when the port is not the scheme's own.
pub fn authority(https: bool, host: &Host, port: u16) -> String {
    match host {
        Host::Name(name) if port == default_port(https) => name.clone(),
        _ if port == default_port(https) => host.to_string(),
        _ => format!("{host}:{port}"),
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub enum Peer {
    /// The agent. None of its claims is trusted.
    Agent,
    /// A sibling sidecar: it may name `https` targets in absolute form, and its `x-bottle-` headers are trusted.
    Sibling,
    /// The agent, on a connection to one origin: inside intercepted TLS, or dialled without a proxy.
    Intercepted {
        /// The connection has TLS.
        https: bool,
        /// The host of the `CONNECT`, or the name that was dialled.
        host: Host,
        /// Its port.
        port: u16,
        /// Why every request inside is refused: what was dialled, or the TLS server name.
        refused: Option<Refused>,
    },
}

impl Peer {
    /// True for the agent on the connection itself.
    pub fn is_agent(&self) -> bool {
        matches!(self, Self::Agent)
    }

    /// Why every request of this connection is refused, if that is known from its beginning.
    pub fn refusal(&self) -> Option<&Refused> {
        match self {
            Self::Intercepted { refused, .. } => refused.as_ref(),
            Self::Agent | Self::Sibling => None,
        }
    }

    /// True for a sibling sidecar.
    pub fn is_sibling(&self) -> bool {
        matches!(self, Self::Sibling)
    }
}

/// The target of a request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// An origin.
    Origin(Target),
    /// One of the bottle's own names, or the proxy itself in origin form.
    Own(Target),
}

fn refused(reason: Reason, message: impl Into<String>) -> Refused {
    Refused::new(reason, message)
}

/// Splits `host[:port]`. Userinfo, an empty port, signs and leading zeros are refused: parsers disagree about them.
pub fn split_authority(text: &str) -> Result<(Host, Option<u16>), Refused> {
    let ambiguous = |why: &str| refused(Reason::AmbiguousTarget, format!("{why}: {}", Untrusted::new(text))).place(Place::Head);
    if text.contains('@') {
        // It may be a password, so it is not repeated.
        return Err(refused(Reason::AmbiguousTarget, "an authority must not contain user information").place(Place::Head));
    }
    let HostPort { host, port } = HostPort::parse(text).map_err(|error| ambiguous(&error.to_string()))?;
    Ok((host, port))
}

/// Parses a `CONNECT` target, which must have a port, and checks `Host` against it.
pub fn connect_target(parts: &Parts) -> Result<(Host, u16), Refused> {
    let text = parts.uri.authority().map(|a| a.as_str()).unwrap_or_default();
    if parts.uri.scheme().is_some() || parts.uri.path_and_query().is_some() {
        return Err(refused(Reason::AmbiguousTarget, "CONNECT takes host:port alone").place(Place::Head));
    }
    let (host, port) = split_authority(text)?;
    let port = port.ok_or_else(|| refused(Reason::AmbiguousTarget, "CONNECT must name a port").place(Place::Head))?;
    if let Some((named, named_port)) = host_header(&parts.headers)?.map(split_authority).transpose()?
        && (named != host || named_port.is_some_and(|p| p != port))
    {
        return Err(refused(Reason::OriginMismatch, "CONNECT and Host name different origins").place(Place::Head));
    }
    Ok((host, port))
}

/// The text of the `Host` header, if there is one.
fn host_header(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut values = headers.get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(refused(Reason::MalformedRequest, "more than one Host field").place(Place::Head)),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| refused(Reason::AmbiguousTarget, "the Host field is not text").place(Place::Head))
        }
    }
}

/// Whether an authority names this origin.
fn agrees(https: bool, host: &Host, port: u16, text: &str) -> Result<bool, Refused> {
    // The canonical name needs no parsing.
    if port == default_port(https) && matches!(host, Host::Name(name) if name == text) {
        return Ok(true);
    }
    let (other, other_port) = split_authority(text)?;
    Ok(other == *host && other_port.unwrap_or(default_port(https)) == port)
}

/// Refuses methods that a proxy does not forward, or that parsers may read differently.
pub fn check_method(method: &Method) -> Result<(), Refused> {
    let name = method.as_str();
    let plain =
        name.len() <= 32 && name.starts_with(|c: char| c.is_ascii_uppercase()) && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    if !plain {
        let message = match name.bytes().all(|b| b.is_ascii_alphabetic()) {
            true => format!("methods are case-sensitive: send {}, not {name}", name.to_ascii_uppercase()),
            false => format!("not a method: {}", Untrusted::new(name)),
        };
        return Err(refused(Reason::MalformedRequest, message).place(Place::Head));
    }
    match name {
        "TRACE" | "TRACK" | "CONNECT" | "PRI" => {
            Err(refused(Reason::MalformedRequest, format!("{name} is not forwarded")).place(Place::Head))
        }
        _ => Ok(()),
    }
}

/// Parses the target of any request but `CONNECT`.
pub fn named(parts: &Parts, peer: &Peer) -> Result<Named, Refused> {
    check_method(&parts.method)?;
    if let Some(refused) = peer.refusal() {
        return Err(refused.clone());
    }
    let uri = &parts.uri;
    let host_field = host_header(&parts.headers)?;
    let mismatch = || refused(Reason::OriginMismatch, "the target and the Host field name different origins").place(Place::Head);
    let (https, host, port) = match (peer, uri.scheme_str(), uri.authority()) {
        (Peer::Intercepted { https, host, port, .. }, scheme, authority) => {
            if scheme.is_some_and(|s| s != if *https { "https" } else { "http" }) {
                return Err(refused(Reason::OriginMismatch, "the target's scheme is not the connection's").place(Place::Head));
            }
            let target = authority.map(|authority| authority.as_str());
            if host_field.is_none() && target.is_none() {
                return Err(refused(Reason::MalformedRequest, "the request names no host").place(Place::Head));
            }
            for other in [host_field, target].into_iter().flatten() {
                if !agrees(*https, host, *port, other)? {
                    return Err(mismatch());
                }
            }
            (*https, host.clone(), *port)
        }
        (_, Some(scheme @ ("http" | "https")), Some(authority)) => {
            // An agent that does not say CONNECT first leaves TLS to the proxy: its own hop stays in the bottle, and the rest is the same.
            let https = scheme == "https";
            let (host, port) = split_authority(authority.as_str())?;
            let port = port.unwrap_or(default_port(https));
            if let Some(other) = host_field
                && !agrees(https, &host, port, other)?
            {
                return Err(mismatch());
            }
            (https, host, port)
        }
        (_, Some(_), _) => return Err(refused(Reason::AmbiguousTarget, "only http and https targets are known").place(Place::Head)),
        (_, None, _) => {
            let host_field = host_field.map(split_authority).transpose()?;
            let own = host_field.map(|(host, port)| (host, port.unwrap_or(80))).filter(|(host, port)| is_own(host, *port));
            let Some((host, port)) = own else {
                return Err(
                    refused(Reason::SelfRequest, "this is a proxy; name the origin in absolute form, or use CONNECT").place(Place::Head)
                );
            };
            return Ok(Named::Own(Target { https: false, host, port, path: path(uri)?, query: query(uri)? }));
        }
    };
    let path = path(uri)?;
    let query = query(uri)?;
    if !peer.is_sibling() && is_own(&host, port) {
        return Ok(Named::Own(Target { https: false, host, port, path, query }));
    }
    Ok(Named::Origin(Target { https, host, port, path, query }))
}

fn query(uri: &Uri) -> Result<Option<String>, Refused> {
    match uri.query().map(escape_bytes) {
        Some(query) if !query_is_sendable(&query) => {
            Err(refused(Reason::AmbiguousTarget, "the query has a character that must be escaped").place(Place::Query))
        }
        query => Ok(query.map(Into::into)),
    }
}

fn path(uri: &Uri) -> Result<String, Refused> {
    requested(uri.path()).map_err(|error| refused(Reason::AmbiguousTarget, error.to_string()).place(Place::Path))
}

/// Whether these values of `Upgrade` offer a WebSocket, alone or among others. Any other offer may be ignored (RFC 9110, section 7.8).
pub fn offers_websocket<'a>(upgrades: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut offers = upgrades.into_iter().flat_map(|value| value.split(|b| *b == b','));
    offers.any(|offer| offer.trim_ascii().split(|b| *b == b'/').next().is_some_and(|name| name.eq_ignore_ascii_case(b"websocket")))
}

/// True for a WebSocket, false for no upgrade that anybody takes. `bodyless` says that the request has no body.
pub fn websocket(parts: &Parts, bodyless: bool) -> Result<bool, Refused> {
    let upgrades = parts.headers.get_all(header::UPGRADE);
    if !offers_websocket(upgrades.iter().map(http::HeaderValue::as_bytes)) {
        return Ok(false);
    }
    let mut upgrades = upgrades.iter();
    let Some(upgrade) = upgrades.next() else { return Ok(false) };
    let not = |why: &str| Err(refused(Reason::UpgradeNotAllowed, why).place(Place::Header(header::UPGRADE)));
    if upgrades.next().is_some() || !upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") {
        return not("a WebSocket is offered beside another protocol");
    }
    let one = |name: header::HeaderName| {
        let mut values = parts.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let nominated = parts.headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let shaped = parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && bodyless
        && nominated.into_iter().any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
        && one(header::SEC_WEBSOCKET_VERSION).is_some_and(|v| v == "13")
        && one(header::SEC_WEBSOCKET_KEY).is_some_and(|key| key.len() == 24);
    if shaped { Ok(true) } else { not("the WebSocket handshake does not follow RFC 6455, section 4.1") }
}
