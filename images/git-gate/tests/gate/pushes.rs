//! Clones, fetches and pushes as they should be.

use crate::support::*;

#[test]
fn work_is_cloned_and_pushed_and_upstream_gets_the_real_credential() {
    let world = World::new();
    let tree = world.clone_named("work");
    run(tree.git().args(["checkout", "-q", "-b", "agent/x"]));
    tree.write("src/main.rs", "fn main() {}\n");
    let commit = tree.commit("work");
    let pushed = tree.push(&["agent/x"]);
    pushed.is_taken();
    assert!(pushed.said.contains("git-gate: 1 ref to change"), "{}", pushed.said);
    assert!(world.refs().contains(&format!("refs/heads/agent/x {commit}")), "{:?}", world.refs());
    let event = world.gate.event("push", 1);
    assert_eq!(event.reason, None, "{event:?}");
    assert_eq!((event.repo.as_deref(), event.objects), (Some("app"), Some(4)));
    let change = &event.refs[0];
    assert_eq!((change.name.as_str(), change.new.as_str(), change.result.as_str()), ("refs/heads/agent/x", commit.as_str(), "ok"));
    let requests = world.origin.as_ref().unwrap().requests();
    use base64::Engine as _;
    let expected = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(TOKEN));
    assert!(requests.iter().all(|request| request.header("authorization") == Some(&expected)), "{requests:#?}");
}

#[test]
fn a_secret_in_a_file_is_named_by_rule_commit_path_and_line() {
    let world = World::new();
    let tree = world.clone_named("work");
    tree.write("config/app.py", format!("# settings\n\nTOKEN = '{}'  # gitleaks:allow\n", secret()));
    let commit = tree.commit("settings");
    let pushed = tree.push(&["HEAD:refs/heads/agent/x"]);
    pushed.is_refused_with("[remote rejected] HEAD -> agent/x (secret_detected: ");
    let named = format!("in commit {}, config/app.py:3", &commit[..10]);
    assert!(pushed.said.contains(&named), "{}", pushed.said);
    assert!(!pushed.said.contains(&secret()));
    world.has_not_leaked(&secret());
}
