//! The URLs that the gate serves: maps a request to its repository and endpoint. Pure.

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

    #[test]
    fn the_newest_version_that_both_know_wins() {
        for (header, expected) in
            [(None, 0), (Some("version=2"), 2), (Some("version=1:version=2"), 2), (Some("version=3"), 0), (Some(""), 0)]
        {
            assert_eq!(version(header.map(str::as_bytes)), expected, "{header:?}");
        }
    }
}
