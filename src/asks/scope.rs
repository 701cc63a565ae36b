//! The scope of a question: a host and port, methods and paths, however it was asked for.

use bottle_contract::ask::HeldRequest;
use bottle_contract::host::Host;
use bottle_contract::path;
use bottle_contract::route::PathRule;
use bottle_contract::supervise::{MAX_LIST, Proposal};
use bottle_policy::asks::may_ever_be_asked;
use serde::Serialize;

use super::plain_text::plain;

/// Bytes of a path that is asked about; a longer one could not be shown whole.
const MAX_PATH_BYTES: usize = 1024;
/// Bytes of a method.
const MAX_METHOD_BYTES: usize = 32;

/// What a request or a proposal needs. Every part is in canonical form, and short enough to be shown whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// The host.
    #[serde(serialize_with = "as_text")]
    pub host: Host,
    /// The port.
    pub port: u16,
    /// Upper-case methods, sorted.
    pub methods: Vec<String>,
    /// The paths, sorted as they are written.
    pub paths: Vec<PathRule>,
}

fn as_text<S: serde::Serializer>(host: &Host, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(host)
}

impl Scope {
    /// Of a request that a sidecar holds; `None` if nobody is asked about such a one.
    pub fn of_request(request: &HeldRequest) -> Option<Self> {
        let host = Host::parse(&request.host).ok()?;
        let is_shown_whole = |path: &str| path.len() <= MAX_PATH_BYTES && plain(path) == path;
        if !may_ever_be_asked(&host, request.port) || !is_method(&request.method) || !is_shown_whole(&request.path) {
            return None;
        }
        // This path alone, even if it ends with a slash.
        let paths = vec![PathRule::Exact(path::canonical(&request.path).ok().filter(|canonical| *canonical == request.path)?)];
        Some(Self { host, port: request.port, methods: vec![request.method.clone()], paths })
    }

    /// Of what the agent proposes, or why it is not asked.
    pub fn of_proposal(proposal: &Proposal) -> Result<Self, String> {
        let host = Host::parse(&proposal.host).map_err(|error| format!("`host`: {error}"))?;
        let port = proposal.port.unwrap_or(443);
        if port == 0 {
            return Err("`port`: a number from 1 to 65535".to_owned());
        }
        if !may_ever_be_asked(&host, port) {
            return Err("`host`: addresses, metadata services and the bottle's own names are never granted this way".to_owned());
        }
        for (name, list) in [("methods", &proposal.methods), ("paths", &proposal.paths)] {
            if list.is_empty() || list.len() > MAX_LIST {
                return Err(format!("`{name}`: from 1 to {MAX_LIST} entries"));
            }
        }
        let mut methods = proposal.methods.clone();
        if let Some(method) = methods.iter().find(|method| !is_method(method)) {
            return Err(format!("`methods`: {:?} is not an upper-case method such as GET", plain(method)));
        }
        methods.sort();
        methods.dedup();
        let one = |text: &String| {
            let bad = || format!("`paths`: {:?} is not a plain path such as /v1/ or /v1/items", plain(text));
            let fits = text.len() <= MAX_PATH_BYTES && plain(text) == *text && !text.contains(['*', '?', '#']);
            fits.then(|| rule(text)).flatten().ok_or_else(bad)
        };
        let mut paths = proposal.paths.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        paths.sort_by(|one, other| as_written(one).cmp(as_written(other)));
        paths.dedup();
        Ok(Self { host, port, methods, paths })
    }
}

/// A path as a manifest writes it.
pub fn as_written(rule: &PathRule) -> &str {
    match rule {
        PathRule::Exact(path) | PathRule::Prefix(path) => path,
    }
}

/// As a manifest reads it: a path that ends with a slash includes all below it.
fn rule(text: &str) -> Option<PathRule> {
    let canonical = path::canonical(text).ok()?;
    Some(if canonical.ends_with('/') { PathRule::Prefix(canonical) } else { PathRule::Exact(canonical) })
}

fn is_method(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_METHOD_BYTES && name != "CONNECT" && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(host: &str, methods: &[&str], paths: &[&str]) -> Proposal {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Proposal { host: host.into(), port: None, methods: owned(methods), paths: owned(paths), reason: String::new() }
    }

    #[test]
    fn a_proposal_is_read_in_one_way() {
        let read = Scope::of_proposal(&proposal("API.x.test.", &["POST", "GET", "POST"], &["/v1/", "/user"])).unwrap();
        assert_eq!(
            read,
            Scope {
                host: Host::Name("api.x.test".into()),
                port: 443,
                methods: vec!["GET".into(), "POST".into()],
                paths: vec![PathRule::Exact("/user".into()), PathRule::Prefix("/v1/".into())],
            }
        );
    }

    // covers: M08
    #[test]
    fn what_no_person_should_see_is_refused_with_its_field() {
        for (host, methods, paths, field) in [
            ("", &["GET"][..], &["/"][..], "`host`"),
            ("*.x.test", &["GET"], &["/"], "`host`"),
            ("10.0.0.1", &["GET"], &["/"], "`host`"),
            ("169.254.169.254", &["GET"], &["/"], "`host`"),
            ("metadata.google.internal", &["GET"], &["/"], "`host`"),
            ("egress", &["GET"], &["/"], "`host`"),
            ("x.test", &[], &["/"], "`methods`"),
            ("x.test", &["get"], &["/"], "`methods`"),
            ("x.test", &["CONNECT"], &["/"], "`methods`"),
            ("x.test", &["GET"], &[], "`paths`"),
            ("x.test", &["GET"], &["/../etc"], "`paths`"),
            ("x.test", &["GET"], &["/\u{202e}x"], "`paths`"),
            ("x.test", &["GET"], &["/a?b"], "`paths`"),
            ("x.test", &["GET"], &["/*"], "`paths`"),
        ] {
            let refused = Scope::of_proposal(&proposal(host, methods, paths)).unwrap_err();
            assert!(refused.starts_with(field), "{host} {methods:?} {paths:?}: {refused}");
        }
    }
}
