//! Host names: one parser and one matcher, used by the manifest, by `egress` and by `pipelock`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a host was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// Nothing there.
    Empty,
    /// Longer than 253 characters, or a label longer than 63 (RFC 1035, section 2.3.4).
    TooLong,
    /// A character that is not a letter, digit, hyphen or underscore; Unicode names must come as `xn--` labels.
    BadCharacter,
    /// An empty label, or one that starts or ends with a hyphen.
    BadLabel,
    /// Its last label is a number, yet it is not four decimal octets: parsers disagree about such addresses.
    AmbiguousAddress,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the host is empty",
            Self::TooLong => "the host is longer than DNS allows",
            Self::BadCharacter => "the host has a character that no DNS name has (write international names as xn--…)",
            Self::BadLabel => "the host has an empty label, or one that starts or ends with a hyphen",
            Self::AmbiguousAddress => "the host looks like an address that parsers read differently; write it as four decimal octets",
        })
    }
}

impl std::error::Error for HostError {}

/// A host in canonical form: lower case, no trailing dot, addresses as numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(String),
    /// An address literal.
    Ip(IpAddr),
}

impl Host {
    /// Reads a host as it stands in a URI authority (RFC 3986, section 3.2.2), brackets included, without a port.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::BadCharacter)?;
            return inner.parse::<Ipv6Addr>().map(|a| Self::Ip(IpAddr::V6(a))).map_err(|_| HostError::AmbiguousAddress);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.len() > 253 {
            return Err(HostError::TooLong);
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(HostError::BadCharacter);
        }
        for label in name.split('.') {
            if label.is_empty() || label.starts_with('-') || label.ends_with('-') {
                return Err(HostError::BadLabel);
            }
            if label.len() > 63 {
                return Err(HostError::TooLong);
            }
        }
        // The URL standard reads a host whose last label is numeric as an IPv4 address, in up to four radixes.
        let last = name.rsplit('.').next().unwrap_or(name);
        let hexadecimal = last.len() >= 2 && last[..2].eq_ignore_ascii_case("0x") && last[2..].bytes().all(|b| b.is_ascii_hexdigit());
        if last.bytes().all(|b| b.is_ascii_digit()) || hexadecimal {
            return name.parse::<Ipv4Addr>().map(|a| Self::Ip(IpAddr::V4(a))).map_err(|_| HostError::AmbiguousAddress);
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

/// Splits `host[:port]`; an IPv6 address stands in brackets. `None` when what follows the colon is not a port: parsers
/// disagree about an empty one, signs and leading zeros.
pub fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let behind = text.rfind(']').map_or(0, |bracket| bracket + 1);
    match text[behind..].find(':') {
        None => Some((text, None)),
        Some(colon) => {
            let (host, digits) = (&text[..behind + colon], &text[behind + colon + 1..]);
            // `u16::from_str` would also take a plus sign.
            let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
            Some((host, Some(digits.parse().ok().filter(|_| plain)?)))
        }
    }
}

/// A host, and its port if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port, never zero.
    pub port: Option<u16>,
}

/// Why `host[:port]` was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPortError {
    /// The host.
    Host(HostError),
    /// The port.
    Port,
}

impl fmt::Display for HostPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(error) => error.fmt(f),
            Self::Port => f.write_str("the port is not a plain number"),
        }
    }
}

impl std::error::Error for HostPortError {}

impl HostPort {
    /// Reads `host[:port]` as it stands in a URI, without user information.
    pub fn parse(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = split_port(text).ok_or(HostPortError::Port)?;
        Ok(Self { host: Host::parse(host).map_err(HostPortError::Host)?, port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(a)) => write!(f, "{a}"),
            Self::Ip(IpAddr::V6(a)) => write!(f, "[{a}]"),
        }
    }
}

/// Which hosts a route names.
///
/// | pattern | matches | does not match |
/// |---|---|---|
/// | `a.test` | `a.test`, `A.TEST`, `a.test.` | `x.a.test`, `xa.test`, `a.test.evil` |
/// | `*.a.test` | `x.a.test`, `y.x.a.test` | `a.test`, `xa.test` |
/// | `*` | every host | |
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// Exactly this host.
    Exact(Host),
    /// Every name with at least one label more than this suffix.
    Suffix(String),
    /// Every host.
    Any,
}

impl Serialize for Host {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl HostPattern {
    /// True when this pattern names `host`.
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exact(exact), host) => exact == host,
            (Self::Suffix(suffix), Host::Name(name)) => {
                name.len() > suffix.len() + 1 && name.ends_with(suffix.as_str()) && name.as_bytes()[name.len() - suffix.len() - 1] == b'.'
            }
            (Self::Suffix(_), Host::Ip(_)) => false,
        }
    }

    /// True when this pattern names every host that `other` names.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Exact(host)) => self.matches(host),
            (Self::Suffix(suffix), Self::Suffix(longer)) => {
                longer == suffix || longer.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (Self::Exact(_), Self::Suffix(_) | Self::Any) | (Self::Suffix(_), Self::Any) => false,
        }
    }

    /// As it is written, for the event of each request that it allows.
    pub fn text(&self) -> String {
        match self {
            Self::Exact(Host::Name(name)) => name.clone(),
            Self::Exact(address) => address.to_string(),
            Self::Suffix(suffix) => ["*.", suffix].concat(),
            Self::Any => "*".to_owned(),
        }
    }

    /// Orders patterns from the most to the least specific: of the routes that name a host, the first decides.
    pub fn breadth(&self) -> usize {
        match self {
            Self::Exact(_) => 0,
            Self::Suffix(suffix) => 1000 - suffix.len().min(999),
            Self::Any => usize::MAX,
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        match text.strip_prefix("*.") {
            None => Host::parse(text).map(Self::Exact),
            Some(suffix) => match Host::parse(suffix)? {
                Host::Name(name) => Ok(Self::Suffix(name)),
                Host::Ip(_) => Err(HostError::AmbiguousAddress),
            },
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostError;
    fn try_from(text: String) -> Result<Self, HostError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.text()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: F22 X14
    #[test]
    fn a_pattern_matches_what_its_table_says() {
        let matches = |pattern: &str, host: &str| pattern.parse::<HostPattern>().unwrap().matches(&Host::parse(host).unwrap());
        for host in ["a.test", "A.TEST", "a.test."] {
            assert!(matches("a.test", host), "{host}");
        }
        for host in ["x.a.test", "xa.test", "a.test.evil", "test"] {
            assert!(!matches("a.test", host), "{host}");
        }
        for host in ["x.a.test", "y.x.a.test", "X.A.test."] {
            assert!(matches("*.a.test", host), "{host}");
        }
        for host in ["a.test", "xa.test", "x.a.test.evil", "127.0.0.1"] {
            assert!(!matches("*.a.test", host), "{host}");
        }
        assert!(matches("*", "anything.example") && matches("*", "[::1]"));
        for bad in ["a.*", "*a.test", "**.test", "*.", "", "grün.test", "a b", "a.test:443", "*.127.0.0.1"] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_covers_another_if_it_names_all_of_its_hosts() {
        let covers = |wide: &str, narrow: &str| wide.parse::<HostPattern>().unwrap().covers(&narrow.parse().unwrap());
        let pairs = [
            ("*", "*"),
            ("*", "*.a.test"),
            ("*.a.test", "*.a.test"),
            ("*.a.test", "*.b.a.test"),
            ("*.a.test", "b.a.test"),
            ("a.test", "A.test"),
        ];
        for (wide, narrow) in pairs {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        let pairs =
            [("*.a.test", "*"), ("a.test", "*.a.test"), ("*.a.test", "a.test"), ("*.a.test", "*.ba.test"), ("*.b.a.test", "*.a.test")];
        for (wide, narrow) in pairs {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }

    #[test]
    fn a_port_is_a_plain_number_or_absent() {
        let parse = |text: &str| HostPort::parse(text).map(|HostPort { host, port }| (host.to_string(), port));
        assert_eq!(parse("A.test"), Ok(("a.test".into(), None)));
        assert_eq!(parse("a.test:8443"), Ok(("a.test".into(), Some(8443))));
        assert_eq!(parse("[::1]:80"), Ok(("[::1]".into(), Some(80))));
        for text in ["a.test:", "a.test:0", "a.test:080", "a.test:+80", "a.test:65536", "a.test:1:2", "::1"] {
            assert_eq!(parse(text), Err(HostPortError::Port), "{text}");
        }
        assert_eq!(parse(":80"), Err(HostPortError::Host(HostError::Empty)));
        assert_eq!(parse("[::1]x"), Err(HostPortError::Host(HostError::BadCharacter)));
    }

    // covers: N07
    #[test]
    fn an_address_that_parsers_read_differently_is_refused() {
        for text in [
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "0",
            "127.0.0.1.1",
            "1.2.3.0x4",
            "0x7f.1",
            "256.1.1.1",
            "a.0x1",
            "127.0.0.01",
        ] {
            assert_eq!(Host::parse(text), Err(HostError::AmbiguousAddress), "{text}");
        }
        for text in ["[fe80::1%25lo]", "[::1", "１２７.0.0.1", "%31%32%37.0.0.1"] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
        assert_eq!(Host::parse("127.0.0.1."), Ok(Host::Ip("127.0.0.1".parse().unwrap())));
        assert_eq!(Host::parse("[::FFFF:127.0.0.1]"), Ok(Host::Ip("::ffff:127.0.0.1".parse().unwrap())));
    }
}
