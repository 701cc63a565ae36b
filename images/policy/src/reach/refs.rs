//! The comparison of repositories: which refs may be pushed, and how.

use bottle_contract::gate::{PushPolicy, Remote, Repo};

use super::Excess;

/// What the repositories of `other` allow and `known` does not.
pub(super) fn beyond(known: &[Repo], other: &[Repo]) -> Vec<Excess> {
    other.iter().filter_map(|repo| at(known.iter().find(|one| is_same(one, repo)), repo)).collect()
}

/// The same repository under the same name; its credential may be another.
fn is_same(one: &Repo, other: &Repo) -> bool {
    let path = |remote: &Remote| match remote {
        Remote::Https { path, .. } | Remote::Ssh { path, .. } => path.clone(),
    };
    let is_ssh = |remote: &Remote| matches!(remote, Remote::Ssh { .. });
    let (a, b) = (&one.upstream, &other.upstream);
    one.name == other.name && a.target() == b.target() && path(a) == path(b) && is_ssh(a) == is_ssh(b)
}

fn at(known: Option<&Repo>, repo: &Repo) -> Option<Excess> {
    let name = repo.name.clone();
    let Some(known) = known else {
        return Some(Excess::Repository { name, page: repo.upstream.page(), refs: repo.push.allow.clone() });
    };
    let (before, push) = (&known.push, &repo.push);
    let refs: Vec<String> = push.allow.iter().filter(|refs| !before.allow.iter().any(|wide| covers(wide, refs))).cloned().collect();
    let mut also = if push.allow.is_empty() { Vec::new() } else { more(before, push) };
    if let Some(token) = token(&repo.upstream).filter(|token| Some(token) != token_of(known).as_ref()) {
        also.push(format!("the credential {token} is sent"));
    }
    if host_key(&known.upstream) != host_key(&repo.upstream) {
        also.push("another host key is trusted".to_owned());
    }
    (!refs.is_empty() || !also.is_empty()).then_some(Excess::Push { name, refs, also })
}

fn token_of(repo: &Repo) -> Option<String> {
    token(&repo.upstream)
}

fn token(remote: &Remote) -> Option<String> {
    match remote {
        Remote::Https { auth, .. } => auth.as_ref().map(|auth| auth.slot.clone()),
        Remote::Ssh { identity, .. } => Some(identity.clone()),
    }
}

fn host_key(remote: &Remote) -> Option<&str> {
    match remote {
        Remote::Https { .. } => None,
        Remote::Ssh { host_key, .. } => Some(host_key),
    }
}

/// What may be done to the refs of both, in words.
fn more(before: &PushPolicy, push: &PushPolicy) -> Vec<String> {
    let flags = [
        (before.create, push.create, "new refs"),
        (before.update, push.update, "fast-forwards"),
        (before.force, push.force, "forced updates"),
        (before.delete, push.delete, "deletions"),
        (before.options, push.options, "push options"),
    ];
    let mut more: Vec<String> = flags.into_iter().filter(|(before, now, _)| *now && !before).map(|(.., what)| what.to_owned()).collect();
    match (&before.committer, &push.committer) {
        (Some(_), None) => more.push("commits of anybody".to_owned()),
        (before, Some(now)) if before.as_ref().is_some_and(|before| before != now) => more.push(format!("commits of {now}")),
        _ => {}
    }
    if push.pack_bytes > before.pack_bytes {
        more.push(format!("packs of {} bytes", push.pack_bytes));
    }
    if push.objects > before.objects {
        more.push(format!("packs of {} objects", push.objects));
    }
    more
}

/// True when every ref that `narrow` names, `wide` names too; a star is any text but the empty one.
fn covers(wide: &str, narrow: &str) -> bool {
    match (wide.split_once('*'), narrow.split_once('*')) {
        (None, _) => wide == narrow,
        (Some((start, end)), None) => narrow.len() > start.len() + end.len() && narrow.starts_with(start) && narrow.ends_with(end),
        (Some((start, end)), Some((narrow_start, narrow_end))) => narrow_start.starts_with(start) && narrow_end.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_refs_covers_what_it_names() {
        for (wide, narrow) in [("refs/heads/*", "refs/heads/a"), ("refs/heads/*", "refs/heads/a/*"), ("refs/*", "refs/*/x"), ("a", "a")] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("refs/heads/*", "refs/heads/"),
            ("refs/heads/a/*", "refs/heads/*"),
            ("refs/heads/*x", "refs/heads/*"),
            ("a", "a*"),
            ("ab*ba", "aba"),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }

    fn repo(edit: impl FnOnce(&mut Repo)) -> Repo {
        let upstream = Remote::Https {
            host: bottle_contract::host::Host::parse("git.test").unwrap(),
            port: 443,
            path: "/acme/app.git".into(),
            auth: None,
        };
        let push = PushPolicy { allow: vec!["refs/heads/agent/*".into()], committer: Some("a <a@test>".into()), ..PushPolicy::default() };
        let mut repo = Repo { name: "app".into(), upstream, push };
        edit(&mut repo);
        repo
    }

    #[test]
    fn what_more_may_be_pushed_is_named() {
        let known = [repo(|_| {})];
        assert_eq!(beyond(&known, &known), []);
        assert_eq!(beyond(&known, &[]), []);
        let wider = repo(|repo| {
            repo.push.allow.push("refs/heads/*".into());
            (repo.push.force, repo.push.committer) = (true, None);
        });
        let also = ["forced updates", "commits of anybody"].map(str::to_owned).to_vec();
        assert_eq!(beyond(&known, &[wider]), [Excess::Push { name: "app".into(), refs: vec!["refs/heads/*".into()], also }]);
        // With nothing that may be pushed, it does not count how.
        let closed = repo(|repo| (repo.push.force, repo.push.allow) = (true, Vec::new()));
        assert_eq!(beyond(&known, &[closed]), []);
        let page = "https://git.test/acme/app".to_owned();
        let refs = vec!["refs/heads/agent/*".to_owned()];
        assert_eq!(beyond(&[], &known), [Excess::Repository { name: "app".into(), page, refs }]);
    }
}
