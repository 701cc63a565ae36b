//! Everything that a bottle is planned from, so that its policy can be planned again while it runs.

use bottle_contract::Grant;

use super::agent::Invocation;
use super::build::{self, Facts};
use super::sidecars::Again;
use super::{Plan, fixed};
use crate::manifest::model::Resolved;

/// What a bottle is planned from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blueprint {
    /// The bottle's id.
    pub id: String,
    /// The manifests.
    pub resolved: Resolved,
    /// What the operator asked for.
    pub invocation: Invocation,
    /// The host's properties at the start; the rule files, as they were read last.
    pub facts: Facts,
}

impl Blueprint {
    /// The plan of the start.
    pub fn plan(&self) -> Plan {
        build::plan(&self.resolved, &self.id, &self.invocation, &self.facts)
    }

    /// The plan in which only the policies of the sidecars differ from that of the start, `started`: what `next` says now, and the grants,
    /// under the number `generation`. The error is what cannot change while a bottle runs, by its key in the manifest.
    pub fn again(&self, next: &Self, started: &Plan, generation: u64, grants: &[Grant]) -> Result<Plan, Vec<String>> {
        let again = Again { generation, grants, started: &started.sidecars };
        let planned = build::again(&next.resolved, &self.id, &self.invocation, &next.facts, again);
        let fixed = fixed::differences((&self.resolved, started), (&next.resolved, &planned));
        if fixed.is_empty() { Ok(Plan { sidecars: planned.sidecars, routes: planned.routes, ..started.clone() }) } else { Err(fixed) }
    }
}

#[cfg(test)]
mod tests {
    use bottle_contract::egress::EgressConfig;
    use bottle_contract::pipelock::PipelockConfig;
    use bottle_contract::route::Route;

    use super::*;
    use crate::manifest::model::Origin;
    use crate::manifest::{Kind, Library, Source};

    fn blueprint(bottle: &str) -> Blueprint {
        let source = |kind, text: String| Source {
            kind,
            name: "web".to_owned(),
            origin: Origin::Home(format!("/c/{kind}/web.md").into()),
            content: Ok(text.into_bytes()),
        };
        let agent = source(Kind::Agent, "---\nbottle: web\nprovider: shell\n---\n".to_owned());
        let bottle = source(Kind::Bottle, format!("---\n{bottle}---\n"));
        let facts = Facts::minimal(Vec::new());
        let resolved = Library::new(None, vec![agent, bottle], Vec::new()).resolve("web").unwrap();
        Blueprint { id: "web".to_owned(), resolved, invocation: Invocation::default(), facts }
    }

    const TWO: &str =
        "egress:\n  routes:\n    - { host: a.test, auth: { token_ref: A } }\n    - { host: b.test, auth: { token_ref: B } }\n";

    /// Hosts of routes, each with the slot of its token.
    fn slots(plan: &Plan) -> Vec<(String, Option<&str>)> {
        let (_, config) = plan.sidecar::<EgressConfig>().unwrap();
        config.routes.iter().map(|route| (route.host.to_string(), route.auth.as_ref().map(|auth| auth.slot.as_str()))).collect()
    }

    #[test]
    fn a_token_keeps_its_slot_when_the_one_before_it_goes() {
        let start = blueprint(TWO);
        let started = start.plan();
        let next = blueprint("egress:\n  routes:\n    - { host: b.test, auth: { token_ref: B } }\n    - host: c.test\n");
        let plan = start.again(&next, &started, 2, &[]).unwrap();
        assert_eq!(slots(&plan), [("b.test".to_owned(), Some("EGRESS_TOKEN_1")), ("c.test".to_owned(), None)]);
        assert_eq!(
            plan.sidecars.iter().map(|s| &s.secrets).collect::<Vec<_>>(),
            started.sidecars.iter().map(|s| &s.secrets).collect::<Vec<_>>()
        );
        let generations =
            (plan.sidecar::<EgressConfig>().unwrap().1.generation, plan.sidecar::<PipelockConfig>().unwrap().1.x_bottle.generation);
        assert_eq!(generations, (2, 2));
        // And it is the same again once it is back.
        let back = start.again(&start, &started, 1, &[]).unwrap();
        assert_eq!(back, started);
    }

    #[test]
    fn what_cannot_change_while_a_bottle_runs_is_named() {
        let start = blueprint(TWO);
        let started = start.plan();
        for (added, named) in [
            ("limits: { pids: 9 }\n", "limits"),
            ("workspace: copy\n", "workspace"),
            ("env: { A: b }\n", "env"),
            ("backend: compose\n", "backend"),
            ("git:\n  repos:\n    - { name: app, upstream: \"https://git.test/app\" }\n", "git (a sidecar `git-gate` that does not run)"),
        ] {
            let next = blueprint(&format!("{added}{TWO}"));
            assert_eq!(start.again(&next, &started, 2, &[]), Err(vec![named.to_owned()]), "{added}");
        }
        let token = TWO.replace("token_ref: B", "token_ref: C");
        assert_eq!(
            start.again(&blueprint(&token), &started, 2, &[]),
            Err(vec!["auth (the token `C` has no value in this bottle)".to_owned()])
        );
        let bare = blueprint("egress: { routes: [] }\n");
        let named = "egress (a sidecar `egress` that does not run)".to_owned();
        assert_eq!(bare.again(&start, &bare.plan(), 2, &[]), Err(vec![named]));
        // The last route may go: egress stays, and allows nothing.
        assert_eq!(slots(&start.again(&bare, &started, 2, &[]).unwrap()), []);
    }

    #[test]
    fn pipelock_lets_pass_what_routes_and_grants_name_on_their_ports() {
        let start = blueprint("egress:\n  routes:\n    - { host: \"*.a.test:8443\" }\n    - { host: x.a.test }\n    - { host: b.test }\n");
        let grant = |host: &str, ports: &[u16]| {
            let route = Route { host: host.parse().unwrap(), ports: ports.to_vec(), matches: Vec::new(), auth: None, ask: false };
            Grant { id: "1".to_owned(), route, uses: None }
        };
        let doors = |grants: &[Grant]| {
            let plan = start.again(&start, &start.plan(), 2, grants).unwrap();
            let (_, config) = plan.sidecar::<PipelockConfig>().unwrap();
            let ports = config.x_bottle.ports.iter().map(|row| format!("{} {:?}", row.host, row.ports));
            (config.api_allowlist.iter().map(ToString::to_string).collect::<Vec<_>>(), ports.collect::<Vec<_>>())
        };
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(doors(&[]), (strings(&["*.a.test", "x.a.test", "b.test"]), strings(&["*.a.test [8443]", "x.a.test [443, 80]"])));
        let granted = doors(&[grant("*", &[9000])]);
        let ports = strings(&["*.a.test [8443, 9000]", "x.a.test [443, 80, 9000]", "b.test [443, 80, 9000]", "* [9000]"]);
        assert_eq!(granted, (strings(&["*.a.test", "x.a.test", "b.test", "*"]), ports));
    }
}
