//! The URL of a repository.

use std::fmt;

use crate::host::Host;

/// A repository's URL, `https://host/path` or `ssh://user@host/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUrl {
    /// The protocol.
    pub scheme: Scheme,
    /// The server.
    pub host: Host,
    /// The server as the manifest spells it.
    pub written_host: String,
    /// The port, if the URL names one.
    pub named_port: Option<u16>,
    /// The repository's path, with its leading slash and without a trailing one.
    pub path: String,
}

/// The protocol of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Smart HTTP over TLS.
    Https,
    /// SSH, as this user.
    Ssh(String),
}

impl RemoteUrl {
    /// The usual port of HTTPS.
    pub const HTTPS_PORT: u16 = 443;
    /// The usual port of SSH.
    pub const SSH_PORT: u16 = 22;

    /// Parses a URL. A parsed URL is safe in a request's target and in git's configuration, and can be dialled.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let (is_ssh, rest) = match (url.strip_prefix("ssh://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("not an ssh:// or https:// URL"),
        };
        if !url.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("a space or a character outside ASCII in the URL");
        }
        let slash = rest.find('/').ok_or("the URL has no path")?;
        let (authority, path) = rest.split_at(slash);
        let (user, address) = authority.rsplit_once('@').map_or((None, authority), |(user, address)| (Some(user), address));
        let scheme = match (is_ssh, user) {
            (_, Some(user)) if user.contains(':') => return Err("a password in the URL"),
            (false, Some(_)) => return Err("a user in an https:// URL"),
            (false, None) => Scheme::Https,
            (true, None) => return Err("no user in an ssh:// URL"),
            (true, Some(user)) if !is_user(user) => return Err("not a user's name in the URL"),
            (true, Some(user)) => Scheme::Ssh(user.to_owned()),
        };
        let no_address = "not a host and port in the URL";
        let (written_host, named_port) = crate::host::split_port(address).ok_or(no_address)?;
        let host = Host::parse(written_host).map_err(|_| no_address)?;
        let path = path.trim_end_matches('/');
        if path.trim_matches('/').is_empty() || path.split('/').any(|part| matches!(part, "." | "..")) || !path.bytes().all(is_plain) {
            return Err("not a repository's path in the URL");
        }
        Ok(Self { scheme, host, written_host: written_host.to_owned(), named_port, path: path.to_owned() })
    }

    /// The port that is dialled.
    pub fn port(&self) -> u16 {
        self.named_port.unwrap_or(match self.scheme {
            Scheme::Https => Self::HTTPS_PORT,
            Scheme::Ssh(_) => Self::SSH_PORT,
        })
    }
}

fn is_user(user: &str) -> bool {
    !user.is_empty() && !user.starts_with('-') && user.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+'))
}

/// The characters of a URL path (RFC 3986, section 3.3), except the semicolon, which ends a value in git's configuration.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@%".contains(&byte)
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scheme {
            Scheme::Https => write!(f, "https://{}", self.written_host)?,
            Scheme::Ssh(user) => write!(f, "ssh://{user}@{}", self.written_host)?,
        }
        if let Some(port) = self.named_port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

impl serde::Serialize for RemoteUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_in_one_way() {
        let url = RemoteUrl::parse("ssh://git@GitHub.com.:2222/acme/app.git/").unwrap();
        let expected = RemoteUrl {
            scheme: Scheme::Ssh("git".into()),
            host: Host::Name("github.com".into()),
            written_host: "GitHub.com.".into(),
            named_port: Some(2222),
            path: "/acme/app.git".into(),
        };
        assert_eq!(url, expected);
        assert_eq!(url.to_string(), "ssh://git@GitHub.com.:2222/acme/app.git");
        assert_eq!(RemoteUrl::parse("https://[2001:db8::1]/a").map(|url| url.port()), Ok(443));
        assert_eq!(RemoteUrl::parse("ssh://git@a.test/~me/a").map(|url| url.port()), Ok(22));
    }

    #[test]
    fn what_another_reader_could_take_otherwise_is_refused() {
        for url in [
            "http://a.test/b",
            "git@a.test:b",
            "https://a.test",
            "https://a.test/",
            "https://a.test/../b",
            "https://a.test/b?c",
            "https://a.test/b#c",
            "https://a.test/b;c",
            "https://a.test/b\"c",
            "https://a.test/b\\c",
            "https://a.test/b c",
            "https://a.test:/b",
            "https://a.test:+443/b",
            "https://a.test:0/b",
            "https://a.test:65536/b",
            "https://u@a.test/b",
            "https://127.1/b",
            "https:///b",
            "ssh://a.test/b",
            "ssh://@a.test/b",
            "ssh://-o@a.test/b",
            "ssh://u:p@a.test/b",
            "ssh://u@v@a.test/b",
            "ssh://u%40@a.test/b",
        ] {
            assert!(RemoteUrl::parse(url).is_err(), "{url}");
        }
    }
}
