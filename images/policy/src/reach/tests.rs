//! The comparison agrees with the judge, request by request, over tables and grants of every shape.

use bottle_contract::grant::Grant;
use bottle_contract::host::Host;
use bottle_contract::pipelock::Connect;
use bottle_contract::route::{Auth, Match, PathRule, Route};
use http::HeaderMap;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::grants::Table;
use crate::target::Target;

const PATTERNS: [&str; 6] = ["a.test", "b.a.test", "*.a.test", "*.b.a.test", "z.test", "*"];
/// At least one host of each region that the patterns can make.
const HOSTS: [&str; 7] = ["a.test", "b.a.test", "x.a.test", "c.b.a.test", "z.test", "other.example", "192.0.2.7"];
const PORTS: [u16; 3] = [443, 80, 8443];
const METHODS: [&str; 2] = ["GET", "POST"];
/// At least one path of each set that the rules can make.
const PATHS: [&str; 9] = ["/", "/a", "/a/", "/a/x", "/a/b/", "/a/b/c", "/a/b/c/d", "/x", "//x"];

fn rules() -> [PathRule; 5] {
    let prefix = |text: &str| PathRule::Prefix(text.to_owned());
    [prefix("/"), prefix("/a/"), prefix("/a/b/"), PathRule::Exact("/a".into()), PathRule::Exact("/a/b/c".into())]
}

fn chosen<T: Clone>(all: &[T], bits: u8) -> Vec<T> {
    all.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, one)| one.clone()).collect()
}

fn route(host: &str, (ports, matches, auth): &Shape) -> Route {
    let one = |(methods, paths): &(u8, u8)| Match {
        methods: chosen(&METHODS, *methods).into_iter().map(str::to_owned).collect(),
        paths: chosen(&rules(), *paths),
    };
    let auth = (*auth > 0).then(|| Auth { header: "authorization".into(), scheme: None, slot: format!("TOKEN_{auth}") });
    Route { host: host.parse().unwrap(), ports: chosen(&PORTS, *ports), matches: matches.iter().map(one).collect(), auth, ask: false }
}

/// Bits of the ports; of methods and paths for each match; the token.
type Shape = (u8, Vec<(u8, u8)>, u8);

fn reach() -> impl Strategy<Value = Reach> {
    let shape = || (1..8u8, vec((0..4u8, 0..32u8), 0..3), 0..3u8);
    let routes = vec(proptest::option::weighted(0.4, shape()), PATTERNS.len());
    let grants = vec((0..PATTERNS.len(), shape()), 0..3);
    (routes, grants).prop_map(|(routes, grants)| Reach {
        routes: PATTERNS.iter().zip(&routes).filter_map(|(host, shape)| Some(route(host, shape.as_ref()?))).collect(),
        grants: grants
            .iter()
            .map(|(host, shape)| Grant { id: "g".into(), route: Route { auth: None, ..route(PATTERNS[*host], shape) }, uses: None })
            .collect(),
        ..Reach::default()
    })
}

/// Whether each request of the universe is allowed, and the token that it carries.
fn verdicts(reach: &Reach) -> Vec<Option<Option<String>>> {
    let table = Table { routes: &reach.routes, grants: &reach.grants };
    let mut verdicts = Vec::new();
    for host in HOSTS {
        for port in PORTS {
            for method in METHODS.into_iter().chain(["PUT"]) {
                for path in PATHS {
                    let target = Target { https: true, host: Host::parse(host).unwrap(), port, path: path.into(), query: None };
                    let verdict = table.judge(&target, method, &HeaderMap::new(), |_| true).ok();
                    let token = |index: usize| reach.routes[index].auth.as_ref().map(|auth| auth.slot.clone());
                    verdicts.push(verdict.map(|verdict| verdict.route.and_then(token)));
                }
            }
        }
    }
    verdicts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn there_is_an_excess_exactly_if_a_request_is_allowed_by_one_and_not_by_the_other(known in reach(), other in reach()) {
        let (before, after) = (verdicts(&known), verdicts(&other));
        let is_new = before.iter().zip(&after).any(|(before, after)| before.is_none() && after.is_some());
        let carries = |before: &Option<Option<String>>, after: &Option<Option<String>>| {
            matches!(after, Some(Some(token)) if before.as_ref().is_none_or(|before| before.as_ref() != Some(token)))
        };
        let sends = before.iter().zip(&after).any(|(before, after)| carries(before, after));
        let found = beyond(&known, &other);
        prop_assert_eq!(found.iter().any(|one| matches!(one, Excess::Requests { .. })), is_new, "{:#?}", found);
        prop_assert!(!found.is_empty() || !sends, "a credential is sent anew");
        if found.iter().any(|one| matches!(one, Excess::Credential { .. })) {
            prop_assert!(sends, "{:#?}", found);
        }
        prop_assert_eq!(beyond(&known, &known), vec![]);
    }
}

fn reach_of(routes: Vec<Route>) -> Reach {
    Reach { routes, ..Reach::default() }
}

fn said(known: &Reach, other: &Reach) -> Vec<String> {
    beyond(known, other).iter().map(ToString::to_string).collect()
}

#[test]
fn an_excess_is_said_in_words() {
    let open = |host: &str| route(host, &(3, vec![], 0));
    let reads =
        Route { matches: vec![Match { methods: vec!["GET".into()], paths: vec![PathRule::Prefix("/v1/".into())] }], ..open("api.test") };
    let auth = Auth { header: "authorization".into(), scheme: None, slot: "API_TOKEN".into() };
    let writes = Match { methods: vec!["POST".into()], paths: vec![PathRule::Exact("/v1/x".into())] };
    let more = Route { matches: vec![reads.matches[0].clone(), writes], ..reads.clone() };
    let known = reach_of(vec![reads.clone()]);
    assert_eq!(said(&known, &reach_of(vec![more.clone()])), ["api.test: POST of /v1/x; no credential is sent"]);
    let with_token = |route: &Route| Route { auth: Some(auth.clone()), ..route.clone() };
    let token = "the credential API_TOKEN is sent in `authorization`";
    assert_eq!(said(&known, &reach_of(vec![with_token(&reads)])), [format!("api.test: {token}")]);
    assert_eq!(said(&known, &reach_of(vec![with_token(&more)])), [format!("api.test: POST of /v1/x; {token}")]);
    assert_eq!(
        said(&known, &reach_of(vec![reads.clone(), open("*.b.test")])),
        ["*.b.test: every method of every path; no credential is sent"]
    );
    let port = Route { ports: vec![8443], ..open("b.test") };
    assert_eq!(said(&known, &reach_of(vec![port])), ["b.test on port 8443: every method of every path; no credential is sent"]);
    let moved = Reach {
        connect: vec![Connect { host: "api.test".parse().unwrap(), address: "10.0.0.7:443".parse().unwrap() }],
        parent: Some("10.0.0.1:3128".parse().unwrap()),
        ..known.clone()
    };
    assert_eq!(
        said(&known, &moved),
        ["api.test: 10.0.0.7:443 is dialled, whatever the name resolves to", "the proxy at 10.0.0.1:3128 is used"]
    );
    assert_eq!(
        said(&moved, &known),
        ["api.test: the addresses that the name resolves to are dialled", "origins are dialled without a proxy"]
    );
    let ruled = Reach { rules: BTreeMap::from([("00".into(), "mine.toml".into())]), ..known.clone() };
    assert_eq!(said(&ruled, &known), ["the rules for secrets in mine.toml do not apply"]);
    assert_eq!(said(&known, &ruled), Vec::<String>::new());
    let hostile = Route { matches: vec![Match { methods: vec![], paths: vec![PathRule::Exact("/\u{1b}[2J".into())] }], ..open("api.test") };
    assert_eq!(said(&Reach::default(), &reach_of(vec![hostile])), ["api.test: every method of /\\u{1b}[2J; no credential is sent"]);
}
