//! Whole conversations with the queue: none grants what no valid decision names.

use std::collections::BTreeSet;

use bottle_contract::ask::{HeldRequest, ToHolder};
use bottle_contract::reason::Reason;
use bottle_contract::route::Match;
use bottle_contract::supervise::{AskState, Proposal, Reply};
use proptest::prelude::*;

use super::*;
use crate::manifest::model::{Route, RouteOrigin};

fn settings() -> Settings {
    let from = RouteOrigin::default();
    let reads = Match { methods: vec!["GET".into()], paths: vec![] };
    let listed = Route {
        host: "listed.test".parse().unwrap(),
        ports: vec![443, 80],
        matches: vec![reads],
        auth: None,
        connect: None,
        on_secret: None,
        ask: true,
        from,
    };
    Settings { bottle: "web".into(), attended: true, routes: vec![listed] }
}

fn request(host: &str, method: &str, path: &str) -> Box<HeldRequest> {
    Box::new(HeldRequest {
        component: "egress".into(),
        request_id: "1-1".into(),
        generation: 1,
        reason: Reason::HostNotListed,
        method: method.into(),
        https: true,
        host: host.into(),
        port: 443,
        path: path.into(),
        query_sha256: None,
        headers: vec!["accept".into()],
        body_bytes: None,
        body_sha256: None,
    })
}

fn yes(queue: &Queue, lease: Lease) -> Decision {
    let shown = queue.shown(0).remove(0);
    Decision { ask: shown.ask, hash: shown.hash, verdict: Verdict::Yes(lease), host: None, reason: None, signature: None, signer: None }
}

fn no(queue: &Queue, reason: &str) -> Decision {
    Decision { verdict: Verdict::No, reason: Some(reason.into()), ..yes(queue, Lease::Bottle) }
}

fn tells(effects: &[Effect]) -> Vec<(u64, ToHolder)> {
    let one = |effect: &Effect| match effect {
        Effect::Tell(client, Reply::Held(reply)) => Some((*client, reply.clone())),
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

fn grants(effects: &[Effect]) -> Vec<(String, String, Option<u64>, Option<u64>)> {
    let one = |effect: &Effect| match effect {
        Effect::Grant(grant, seconds) => Some((grant.id.clone(), grant.route.host.to_string(), grant.uses, *seconds)),
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

fn held(queue: &mut Queue, now: u64, client: u64, host: &str) -> Vec<Effect> {
    queue.step(now, Input::Held(client, request(host, "GET", "/x"), format!("n{client}")))
}

#[test]
fn a_yes_is_on_disk_before_the_policy_changes_and_the_client_goes_on_after() {
    let mut queue = Queue::new(settings(), 0);
    let asked = held(&mut queue, 0, 7, "new.test");
    assert!(matches!(&asked[..], [Effect::Journal(Record::Asked { .. }), Effect::Tell(7, _), Effect::Notify]), "{asked:?}");
    let decision = yes(&queue, Lease::Uses(1));
    let decided = queue.decide(&decision, false).unwrap();
    assert!(matches!(&decided[..], [Effect::Journal(Record::Decided { .. }), Effect::Grant(..)]), "{decided:?}");
    assert_eq!(grants(&decided), [("web.1".to_owned(), "new.test".to_owned(), Some(1), None)]);
    let applied = queue.step(1, Input::Granted("web.1".into(), 2));
    assert_eq!(tells(&applied), [(7, ToHolder::JudgeAgain)]);
    assert!(matches!(applied[0], Effect::Journal(Record::Granted { generation: 2, .. })));
    assert_eq!(queue.decide(&decision, false), Err(Rejected::Closed));
    // The one request has been sent.
    let closed = queue.step(2, Input::Ended("web.1".into()));
    assert!(matches!(&closed[..], [Effect::Journal(Record::Closed { state: AskState::Ended, .. })]), "{closed:?}");
    assert_eq!(queue.step(3, Input::Ended("web.1".into())), []);
}

// covers: M04 M17
#[test]
fn a_decision_counts_only_for_what_was_shown() {
    let mut queue = Queue::new(settings(), 0);
    held(&mut queue, 0, 1, "new.test");
    let good = yes(&queue, Lease::Bottle);
    for (decision, rejected) in [
        (Decision { hash: good.hash[..15].into(), ..good.clone() }, Rejected::HashTooShort),
        (Decision { hash: "0".repeat(64), ..good.clone() }, Rejected::HashDiffers),
        (Decision { hash: "zz".repeat(16), ..good.clone() }, Rejected::HashTooShort),
        (Decision { hash: format!("{}0", good.hash), ..good.clone() }, Rejected::HashDiffers),
        (Decision { ask: "web.2".into(), ..good.clone() }, Rejected::Unknown),
        (Decision { ask: "web.01".into(), ..good.clone() }, Rejected::Unknown),
        (Decision { ask: "other.1".into(), ..good.clone() }, Rejected::Unknown),
        (Decision { host: Some("other.test".into()), ..good.clone() }, Rejected::HostDiffers),
        (Decision { verdict: Verdict::Yes(Lease::For(0)), ..good.clone() }, Rejected::BadLease),
        (Decision { verdict: Verdict::Yes(Lease::Uses(10_001)), ..good.clone() }, Rejected::BadLease),
    ] {
        assert_eq!(queue.decide(&decision, false), Err(rejected), "{decision:?}");
    }
    // The manifest now names an address for this host: what was shown is not what would be granted.
    let mut routes = settings().routes;
    let matches = vec![Match { methods: vec!["PUT".into()], paths: vec![] }];
    let connect = Some("192.0.2.1:443".parse().unwrap());
    routes.push(Route { host: "*.test".parse().unwrap(), connect, matches, ..routes[0].clone() });
    let changed = queue.step(1, Input::PolicyChanged(routes));
    assert_eq!(tells(&changed), [(1, ToHolder::Asked { ask: "web.2".into() })]);
    assert_eq!(queue.decide(&good, false), Err(Rejected::Closed));
    assert!(queue.decide(&yes(&queue, Lease::Bottle), false).is_ok());
}

// covers: M06
#[test]
fn equal_requests_share_one_question_and_others_do_not() {
    let mut queue = Queue::new(settings(), 0);
    for client in 1..=3 {
        assert_eq!(tells(&held(&mut queue, 0, client, "new.test")), [(client, ToHolder::Asked { ask: "web.1".into() })]);
    }
    let other = queue.step(0, Input::Held(4, request("new.test", "GET", "/y"), "n".into()));
    assert_eq!(tells(&other), [(4, ToHolder::Asked { ask: "web.2".into() })]);
    let counts: Vec<_> = queue.shown(0).into_iter().map(|shown| (shown.count, shown.held)).collect();
    assert_eq!(counts, [(3, 3), (1, 1)]);
    // All but one leave, then the last one.
    for client in [1, 2] {
        assert_eq!(queue.step(0, Input::Left(client)), []);
    }
    assert!(matches!(&queue.step(0, Input::Left(3))[..], [Effect::Journal(Record::Closed { state: AskState::Withdrawn, .. })]));
    // One that was told to come back leaves its question open.
    queue.step(0, Input::Released(4));
    queue.step(0, Input::Left(4));
    assert_eq!(queue.shown(0).len(), 1);
}

// covers: M06
#[test]
fn a_flood_is_refused_unasked() {
    let mut queue = Queue::new(settings(), 0);
    let mut asked = 0;
    for client in 0..2_000 {
        let effects = held(&mut queue, client / 20, client, &format!("h{client}.test"));
        asked += usize::from(effects.contains(&Effect::Notify));
    }
    assert_eq!(asked, 5);
    for client in 2_000..2_100 {
        held(&mut queue, client * 1_000, client, &format!("h{client}.test"));
    }
    assert_eq!(queue.waiting(), 20);
}

// covers: M01
#[test]
fn nobody_is_asked_where_nobody_attends_and_silence_is_a_no() {
    let mut queue = Queue::new(Settings { attended: false, ..settings() }, 0);
    assert_eq!(tells(&held(&mut queue, 0, 1, "new.test")), [(1, ToHolder::NotAsked)]);
    let mut queue = Queue::new(settings(), 0);
    held(&mut queue, 0, 1, "new.test");
    assert_eq!(queue.deadline(), Some(600_000));
    assert_eq!(queue.step(599_999, Input::Tick), []);
    assert_eq!(tells(&queue.step(600_000, Input::Tick)), [(1, ToHolder::Expired { ask: "web.1".into() })]);
}

#[test]
fn a_denial_is_remembered_and_three_in_a_row_raise_the_bar() {
    let mut queue = Queue::new(settings(), 0);
    for number in 1..=3 {
        held(&mut queue, number * 10_000, number, &format!("h{number}.test"));
        let decision = no(&queue, "not \u{1b}[31mthis one");
        let heard = queue.decide(&decision, false).unwrap();
        let denied = ToHolder::Denied { ask: format!("web.{number}"), reason: Some("not this one".into()) };
        assert_eq!(tells(&heard), [(number, denied.clone())]);
        assert_eq!(tells(&held(&mut queue, number * 10_000, 100, &format!("h{number}.test"))), [(100, denied)]);
    }
    assert_eq!(tells(&held(&mut queue, 90_000, 9, "h9.test")), [(9, ToHolder::NotAsked)]);
    let proposal = |host: &str| Proposal {
        host: host.into(),
        port: None,
        methods: vec!["GET".into()],
        paths: vec!["/".into()],
        reason: "it is needed".into(),
    };
    let proposed = queue.step(90_000, Input::Proposed(10, proposal("h9.test"), "n".into()));
    assert!(proposed.contains(&Effect::Notify), "{proposed:?}");
    // A yes lowers it.
    queue.decide(&yes(&queue, Lease::Bottle), false).unwrap();
    queue.step(90_000, Input::Granted("web.4".into(), 2));
    assert!(matches!(&tells(&held(&mut queue, 99_000, 11, "h10.test"))[..], [(11, ToHolder::Asked { .. })]));
}

#[test]
fn a_lease_has_its_time_and_a_grant_that_is_not_what_was_shown_any_more_ends() {
    let mut queue = Queue::new(settings(), 0);
    held(&mut queue, 0, 1, "new.test");
    let decided = queue.decide(&yes(&queue, Lease::For(60)), false).unwrap();
    assert_eq!(grants(&decided), [("web.1".to_owned(), "new.test".to_owned(), None, Some(60))]);
    queue.step(0, Input::Granted("web.1".into(), 2));
    let row = |connect| Route { host: "new.test".parse().unwrap(), connect, ..settings().routes.remove(0) };
    let with = |connect| [settings().routes, vec![row(connect)]].concat();
    assert_eq!(queue.step(1, Input::PolicyChanged(with(None))), []);
    let elsewhere = queue.step(2, Input::PolicyChanged(with(Some("192.0.2.1:443".parse().unwrap()))));
    assert_eq!(elsewhere, [Effect::Withdraw("web.1".into())]);
}

#[test]
fn a_grant_that_is_not_put_in_force_is_no_grant() {
    let mut queue = Queue::new(settings(), 0);
    held(&mut queue, 0, 1, "new.test");
    queue.decide(&yes(&queue, Lease::Bottle), false).unwrap();
    let failed = queue.step(1, Input::NotGranted("web.1".into(), "egress: no".into()));
    assert_eq!(tells(&failed), [(1, ToHolder::NotAsked)]);
    assert_eq!(queue.step(2, Input::Granted("web.1".into(), 3)), []);
    assert!(matches!(&tells(&held(&mut queue, 5_000, 2, "new.test"))[..], [(2, ToHolder::Asked { .. })]));
}

/// One move of an agent, a person, the clock or a sidecar.
#[derive(Clone, Debug)]
enum Move {
    Hold(u8, u8),
    Propose(u8),
    Answer { which: u8, right: bool, yes: bool, uses: bool },
    Settle(u8, bool),
    Leave(u8),
    Release(u8),
    End(u8),
    Reload(bool),
    Wait(u32),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0u8..6, any::<u8>()).prop_map(|(host, client)| Move::Hold(host, client)),
        2 => (0u8..6).prop_map(Move::Propose),
        4 => (any::<u8>(), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(which, right, yes, uses)| Move::Answer { which, right, yes, uses }),
        4 => (1u8..9, any::<bool>()).prop_map(|(ask, works)| Move::Settle(ask, works)),
        1 => any::<u8>().prop_map(Move::Leave),
        1 => any::<u8>().prop_map(Move::Release),
        1 => (1u8..9).prop_map(Move::End),
        1 => any::<bool>().prop_map(Move::Reload),
        3 => (0u32..700_000).prop_map(Move::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    // covers: M01 M04 M15
    #[test]
    fn no_sequence_opens_a_host_without_a_decision_bound_to_its_hash(moves in proptest::collection::vec(moves(), 1..60)) {
        let mut queue = Queue::new(settings(), 0);
        let (mut now, mut decided, mut granted, mut journal) = (0u64, BTreeSet::new(), 0, String::new());
        for (number, step) in moves.into_iter().enumerate() {
            let effects = match step {
                Move::Hold(host, client) => {
                    queue.step(now, Input::Held(client.into(), request(&format!("h{host}.test"), "GET", "/x"), number.to_string()))
                }
                Move::Propose(host) => {
                    let (methods, paths) = (vec!["GET".into()], vec!["/x".into()]);
                    let proposal = Proposal { host: format!("h{host}.test"), port: None, methods, paths, reason: "why".into() };
                    queue.step(now, Input::Proposed(1_000, proposal, number.to_string()))
                }
                Move::Answer { which, right, yes, uses } => {
                    let shown = queue.shown(now);
                    let Some(shown) = shown.get(usize::from(which) % shown.len().max(1)) else { continue };
                    let lease = if uses { Lease::Uses(2) } else { Lease::For(60) };
                    let verdict = if yes { Verdict::Yes(lease) } else { Verdict::No };
                    let hash = if right { shown.hash.clone() } else { "0".repeat(64) };
                    let decision = Decision { ask: shown.ask.clone(), hash, verdict, host: None, reason: None, signature: None, signer: None };
                    match queue.decide(&decision, false) {
                        Err(_) => continue,
                        Ok(effects) => {
                            prop_assert!(right);
                            if yes {
                                decided.insert((shown.ask.clone(), shown.host.clone()));
                            }
                            effects
                        }
                    }
                }
                Move::Settle(ask, works) => {
                    let ask = format!("web.{ask}");
                    queue.step(now, if works { Input::Granted(ask, number as u64) } else { Input::NotGranted(ask, "no".into()) })
                }
                Move::Leave(client) => queue.step(now, Input::Left(client.into())),
                Move::Release(client) => queue.step(now, Input::Released(client.into())),
                Move::End(ask) => queue.step(now, Input::Ended(format!("web.{ask}"))),
                Move::Reload(wider) => {
                    let mut routes = settings().routes;
                    let reads = Match { methods: vec!["PUT".into()], paths: vec![] };
                    routes.extend(wider.then(|| Route { host: "*.test".parse().unwrap(), matches: vec![reads], ..routes[0].clone() }));
                    queue.step(now, Input::PolicyChanged(routes))
                }
                Move::Wait(millis) => {
                    now += u64::from(millis);
                    queue.step(now, Input::Tick)
                }
            };
            for effect in &effects {
                if let Effect::Journal(record) = effect {
                    journal += &serde_json::to_string(record).unwrap();
                    journal.push('\n');
                }
                match effect {
                    Effect::Grant(grant, _) => {
                        prop_assert!(decided.contains(&(grant.id.clone(), grant.route.host.to_string())), "{grant:?}");
                        granted += 1;
                        prop_assert!(granted <= decided.len(), "a decision counts once");
                    }
                    Effect::Journal(Record::Granted { ask, .. }) => {
                        prop_assert!(decided.iter().any(|(decided, _)| decided == ask), "{ask}");
                    }
                    _ => {}
                }
            }
            prop_assert!(queue.waiting() <= 20);
        }
        let open = |history: &History| matches!(history.state, AskState::Granted | AskState::Granting | AskState::Open);
        for cut in (0..=journal.len()).step_by(journal.len() / 16 + 1).filter(|cut| journal.is_char_boundary(*cut)) {
            prop_assert!(!replay(&journal[..cut]).iter().any(open));
        }
    }
}
