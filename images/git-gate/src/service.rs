//! The URLs that the gate serves: maps a request to its repository and endpoint. Pure.

use bottle_contract::names;
use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::Refused;

use crate::advert::Service;

/// An endpoint of smart HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Lists the refs and capabilities of a service.
    Advertisement(Service),
    /// Runs the service.
    Run(Service),
}

/// What a rewritten URL is for: the repository's own path at the gate, or what its prefix is no more than a prefix of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten<'p> {
    /// `/NAME.git/…`
    Own(String),
    /// Another repository of the same server.
    Neighbour {
        /// The repository whose upstream's URL is the prefix.
        name: &'p str,
        /// What stands behind that prefix.
        rest: &'p str,
    },
}

/// Reads the path of a rewritten URL; `None` for any other. Git rewrites by prefix: `…/acme/app-docs` comes as `/-/app:-docs`.
pub fn rewritten(path: &str) -> Option<Rewritten<'_>> {
    let (name, rest) = path.strip_prefix(names::REWRITTEN)?.split_once(':').filter(|(name, _)| !name.is_empty())?;
    let own = rest.strip_prefix(".git").filter(|tail| tail.starts_with('/')).unwrap_or(rest);
    Some(match own.strip_prefix('/') {
        Some(tail) => Rewritten::Own(format!("/{name}.git/{}", tail.trim_start_matches('/'))),
        None => Rewritten::Neighbour { name, rest },
    })
}

/// Parses a request's line into the repository's name and the endpoint.
pub fn endpoint<'p>(method: &str, path: &'p str, query: Option<&str>) -> Result<(&'p str, Endpoint), Refused> {
    let unknown = |why: &str| Refused::new(Reason::RepoNotListed, why).place(Place::Path);
    let (name, rest) = path
        .strip_prefix('/')
        .and_then(|path| path.split_once(".git/"))
        .filter(|(name, _)| !name.is_empty() && !name.contains('/'))
        .ok_or_else(|| unknown("git-gate serves http://git-gate:9420/NAME.git and nothing else"))?;
    let endpoint = match (method, rest, query) {
        ("GET", "info/refs", Some("service=git-upload-pack")) => Endpoint::Advertisement(Service::UploadPack),
        ("GET", "info/refs", Some("service=git-receive-pack")) => Endpoint::Advertisement(Service::ReceivePack),
        ("POST", "git-upload-pack", None) => Endpoint::Run(Service::UploadPack),
        ("POST", "git-receive-pack", None) => Endpoint::Run(Service::ReceivePack),
        _ => return Err(unknown("git-gate speaks smart HTTP for fetch and push, and nothing else")),
    };
    Ok((name, endpoint))
}

/// The newest protocol version that both sides know (gitprotocol-http(5), "Git-Protocol").
pub fn version(header: Option<&[u8]>) -> u8 {
    let entries = header.into_iter().flat_map(|text| text.split(|b| *b == b':'));
    let version = |entry: &[u8]| match entry {
        b"version=2" => 2,
        b"version=1" => 1,
        _ => 0,
    };
    entries.map(version).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: G13
    #[test]
    fn only_the_two_services_of_a_named_repository_are_served() {
        let parse = |method, path, query| endpoint(method, path, query).map_err(|refused| refused.reason);
        let (upload, receive) = (Service::UploadPack, Service::ReceivePack);
        assert_eq!(parse("GET", "/app.git/info/refs", Some("service=git-upload-pack")), Ok(("app", Endpoint::Advertisement(upload))));
        assert_eq!(parse("GET", "/a.b.git/info/refs", Some("service=git-receive-pack")), Ok(("a.b", Endpoint::Advertisement(receive))));
        assert_eq!(parse("POST", "/app.git/git-upload-pack", None), Ok(("app", Endpoint::Run(upload))));
        assert_eq!(parse("POST", "/app.git/git-receive-pack", None), Ok(("app", Endpoint::Run(receive))));
        for (method, path, query) in [
            ("GET", "/app.git/info/refs", None),
            ("GET", "/app.git/info/refs", Some("service=git-upload-archive")),
            ("GET", "/app.git/info/refs", Some("service=git-upload-pack&service=git-receive-pack")),
            ("GET", "/app.git/info/refs", Some("x=1")),
            ("POST", "/app.git/info/refs", Some("service=git-upload-pack")),
            ("POST", "/app.git/git-upload-archive", None),
            ("POST", "/app.git/git-upload-pack", Some("x")),
            ("GET", "/app.git/git-upload-pack", None),
            ("GET", "/app.git/HEAD", None),
            ("GET", "/app.git/objects/info/packs", None),
            ("GET", "/app.git/objects/pack/pack-1.pack", None),
            ("GET", "/app.git/config", None),
            ("GET", "/app.git/", None),
            ("GET", "/app.git", None),
            ("GET", "/app/info/refs", Some("service=git-upload-pack")),
            ("GET", "/.git/info/refs", Some("service=git-upload-pack")),
            ("GET", "//app.git/info/refs", Some("service=git-upload-pack")),
            ("GET", "/x/app.git/info/refs", Some("service=git-upload-pack")),
            ("PUT", "/app.git/git-receive-pack", None),
            ("PROPFIND", "/app.git/", None),
            ("POST", "/app.git/info/lfs/objects/batch", None),
            ("GET", "/", None),
        ] {
            assert_eq!(parse(method, path, query), Err(Reason::RepoNotListed), "{method} {path} {query:?}");
        }
    }

    // covers: W30
    #[test]
    fn a_rewritten_url_is_the_repositorys_or_a_neighbours() {
        for tail in ["/info/refs", ".git/info/refs", "//info/refs", ".git//info/refs"] {
            assert_eq!(rewritten(&format!("/-/app:{tail}")), Some(Rewritten::Own("/app.git/info/refs".into())), "{tail}");
        }
        for rest in ["-docs/info/refs", ".github.io/info/refs", ".github.io.git/info/refs", ".gitlab/info/refs", "2.git/info/refs"] {
            assert_eq!(rewritten(&format!("/-/app:{rest}")), Some(Rewritten::Neighbour { name: "app", rest }), "{rest}");
        }
        for path in ["/app.git/info/refs", "/-/app.git/info/refs", "/-/:x", "/"] {
            assert_eq!(rewritten(path), None, "{path}");
        }
    }

    #[test]
    fn the_newest_version_that_both_know_wins() {
        for (header, expected) in
            [(None, 0), (Some("version=2"), 2), (Some("version=1:version=2"), 2), (Some("version=3"), 0), (Some(""), 0)]
        {
            assert_eq!(version(header.map(str::as_bytes)), expected, "{header:?}");
        }
    }
}
