//! What a yes would open: one route beside the manifest's, in words and as a manifest writes it.

use bottle_contract::HostPattern;
use bottle_contract::grant::Grant;
use bottle_contract::route::{Match, PathRule, Route};
use bottle_policy::reach::{self, Reach};
use serde_json::{Value, json};

use super::canonical;
use super::scope::{Scope, as_written};
use crate::manifest::model;

/// What a yes would open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What was asked for and no more: one host, one port, methods, paths. It brings no credential.
    pub route: Route,
    /// The credential of the manifest's row for this host and port, which goes with the request: its name, its header.
    pub sends: Option<(String, String)>,
    /// The address that is dialled for the host, if a manifest names one.
    pub address: Option<String>,
}

impl Candidate {
    /// What the scope needs beside these rows.
    pub fn new(rows: &[model::Route], scope: &Scope) -> Self {
        let row = deciding(rows, scope);
        let route = Route {
            host: HostPattern::Exact(scope.host.clone()),
            ports: vec![scope.port],
            matches: vec![Match { methods: scope.methods.clone(), paths: scope.paths.clone() }],
            auth: None,
            ask: false,
        };
        let auth = row.filter(|row| row.ports.contains(&scope.port)).and_then(|row| row.auth.as_ref());
        let address = row.and_then(|row| row.connect).map(|address| address.to_string());
        Self { route, sends: auth.map(|auth| (auth.token_ref.clone(), auth.header.clone())), address }
    }

    /// What would be new, one sentence for each thing.
    pub fn words(&self) -> Vec<String> {
        let Route { host, ports, matches, .. } = &self.route;
        let port = ports.first().copied().unwrap_or_default();
        let mut words: Vec<String> = matches
            .iter()
            .map(|m| {
                let places: Vec<String> = m
                    .paths
                    .iter()
                    .map(|rule| match rule {
                        PathRule::Exact(path) => path.clone(),
                        PathRule::Prefix(path) => format!("{path}*"),
                    })
                    .collect();
                format!("new: {} to {host}:{port} {}", m.methods.join(", "), places.join(", "))
            })
            .collect();
        words.push(match &self.sends {
            Some((name, header)) => format!("sends the credential {name} in {header}"),
            None => "sends no credential".to_owned(),
        });
        words.extend(self.address.as_ref().map(|address| format!("is dialled at {address}")));
        words
    }

    /// The row as a manifest writes it, on one line.
    pub fn yaml(&self) -> String {
        let Route { host, ports, matches, .. } = &self.route;
        let quoted = |text: &str| Value::from(text).to_string();
        let host = match ports.first() {
            Some(port) if !bottle_contract::route::DEFAULT_PORTS.contains(port) => format!("{host}:{port}"),
            _ => host.to_string(),
        };
        let one = |m: &Match| {
            let paths: Vec<String> = m.paths.iter().map(|rule| quoted(as_written(rule))).collect();
            format!("{{ methods: [{}], paths: [{}] }}", m.methods.join(", "), paths.join(", "))
        };
        let matches: Vec<String> = matches.iter().map(one).collect();
        format!("{{ host: {}, matches: [{}] }}", quoted(&host), matches.join(", "))
    }

    /// True if a manifest's row can say exactly this: in a manifest, a path that ends with a slash includes all below it.
    pub fn can_be_written(&self) -> bool {
        let is_plain = |rule: &PathRule| !matches!(rule, PathRule::Exact(path) if path.ends_with('/'));
        self.route.matches.iter().flat_map(|m| &m.paths).all(is_plain)
    }

    /// The digest of all of it.
    pub(super) fn digest(&self) -> String {
        canonical::digest(&json!({ "route": self.route, "sends": self.sends, "address": self.address }))
    }
}

/// Whether these rows and grants let all of the scope through, for any number of requests.
pub(super) fn is_allowed(rows: &[model::Route], grants: &[Grant], scope: &Scope) -> bool {
    let route = |row: &model::Route| Route {
        host: row.host.clone(),
        ports: row.ports.clone(),
        matches: row.matches.clone(),
        auth: None,
        ask: row.ask,
    };
    let grants = grants.iter().filter(|grant| grant.uses.is_none()).cloned().collect();
    let known = Reach { routes: rows.iter().map(route).collect(), grants, ..Reach::default() };
    let mut other = known.clone();
    other.grants.push(Grant { id: String::new(), route: Candidate::new(rows, scope).route, uses: None });
    reach::beyond(&known, &other).is_empty()
}

/// The row that decides about the host alone: the most specific one.
fn deciding<'r>(rows: &'r [model::Route], scope: &Scope) -> Option<&'r model::Route> {
    rows.iter().filter(|row| row.host.matches(&scope.host)).min_by_key(|row| row.host.breadth())
}

#[cfg(test)]
mod tests {
    use bottle_contract::host::Host;

    use super::*;
    use crate::manifest::model::{Auth, RouteOrigin};
    use crate::manifest::token::TokenSource;

    fn scope(host: &str, port: u16, method: &str, path: &str) -> Scope {
        Scope { host: Host::parse(host).unwrap(), port, methods: vec![method.into()], paths: vec![PathRule::Exact(path.into())] }
    }

    fn row(host: &str, matches: Vec<Match>) -> model::Route {
        let from = RouteOrigin::default();
        model::Route {
            host: host.parse().unwrap(),
            ports: vec![443, 80],
            matches,
            auth: None,
            connect: None,
            on_secret: None,
            ask: false,
            from,
        }
    }

    fn reads() -> Match {
        Match { methods: vec!["GET".into()], paths: vec![PathRule::Prefix("/repos/acme/".into())] }
    }

    #[test]
    fn an_unlisted_host_is_opened_for_what_was_asked_and_no_more() {
        let wanted = scope("new.test", 443, "POST", "/v1/x");
        let candidate = Candidate::new(&[row("a.test", vec![])], &wanted);
        assert_eq!(candidate.words(), ["new: POST to new.test:443 /v1/x", "sends no credential"]);
        assert_eq!(candidate.yaml(), r#"{ host: "new.test", matches: [{ methods: [POST], paths: ["/v1/x"] }] }"#);
        assert!(candidate.can_be_written());
        let grants = [Grant { id: "web.1".into(), route: candidate.route.clone(), uses: None }];
        assert!(is_allowed(&[], &grants, &wanted));
        for other in ["GET /v1/x 443", "POST /v1/x/y 443", "POST /v1/x 80"] {
            let parts: Vec<&str> = other.split(' ').collect();
            assert!(!is_allowed(&[], &grants, &scope("new.test", parts[2].parse().unwrap(), parts[0], parts[1])), "{other}");
        }
        // A grant for some requests allows nothing for good.
        assert!(!is_allowed(&[], &[Grant { uses: Some(1), ..grants[0].clone() }], &wanted));
    }

    #[test]
    fn the_credential_and_the_address_of_the_row_are_named() {
        let auth = Auth {
            header: "authorization".into(),
            scheme: Some("Bearer".into()),
            token_ref: "GITHUB_TOKEN".into(),
            source: TokenSource::Variable,
        };
        let connect = Some("192.0.2.1:443".parse().unwrap());
        let rows = [model::Route { auth: Some(auth), connect, ..row("*.x.test", vec![reads()]) }];
        let wanted = scope("api.x.test", 443, "POST", "/repos/acme/issues");
        assert_eq!(
            Candidate::new(&rows, &wanted).words(),
            [
                "new: POST to api.x.test:443 /repos/acme/issues",
                "sends the credential GITHUB_TOKEN in authorization",
                "is dialled at 192.0.2.1:443"
            ]
        );
        // The credential is for the row's own ports.
        assert_eq!(Candidate::new(&rows, &scope("api.x.test", 8443, "POST", "/x")).sends, None);
        assert!(is_allowed(&rows, &[], &scope("b.x.test", 80, "GET", "/repos/acme/a")));
        assert!(!is_allowed(&rows, &[], &wanted));
    }

    #[test]
    fn only_what_would_be_new_counts_for_the_digest() {
        let wanted = scope("a.test", 443, "PUT", "/");
        let digest = |rows: &[model::Route]| Candidate::new(rows, &wanted).digest();
        let one = digest(&[row("a.test", vec![reads()])]);
        assert_eq!(digest(&[row("a.test", vec![]), row("b.test", vec![])]), one);
        let connect = Some("192.0.2.1:9".parse().unwrap());
        assert_ne!(digest(&[model::Route { connect, ..row("a.test", vec![]) }]), one);
    }

    #[test]
    fn a_row_that_asks_allows_only_what_its_matches_name() {
        let wanted = scope("a.test", 443, "PUT", "/");
        assert!(is_allowed(&[row("a.test", vec![])], &[], &wanted));
        assert!(!is_allowed(&[model::Route { ask: true, ..row("a.test", vec![]) }], &[], &wanted));
    }
}
