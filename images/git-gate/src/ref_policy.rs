//! The ref policy: whether a change is allowed. Pure; each denial has its own variant.

use std::fmt;

use bottle_contract::gate::PushPolicy;
use bottle_contract::untrusted::is_hostile;
use gix_hash::ObjectId;

/// A change that the client requests.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The full name of the ref.
    pub name: &'a [u8],
    /// The value that the client expects; none if there is no such ref.
    pub old: Option<ObjectId>,
    /// The new value; none to delete the ref.
    pub new: Option<ObjectId>,
}

/// Upstream's state of the ref at the time of the push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Its value; none if there is no such ref.
    pub current: Option<ObjectId>,
    /// Another ref's name differs only in case: some servers store both in one file.
    pub has_twin: bool,
    /// It is symbolic: a change would hit this ref instead.
    pub leads_to: Option<String>,
}

/// Why a change is denied. `git push` shows the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Git does not accept the name, or it would deceive a reader.
    Name,
    /// No pattern allows it.
    NotAllowed,
    /// Two commands for one ref.
    Twice,
    /// Upstream has another value than the client expects.
    Stale,
    /// Creation is not allowed.
    Create,
    /// Updates are not allowed.
    Update,
    /// Deletion is not allowed.
    Delete,
    /// Not provably a fast-forward, and force is not allowed.
    Force,
    /// A tag would be moved, and force is not allowed.
    TagMoves,
    /// The name differs from another ref's only in case.
    Twin,
    /// It is a symbolic ref.
    Symbolic,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "ref_not_allowed: not a ref name that may be pushed",
            Self::NotAllowed => "ref_not_allowed: no pattern of this bottle allows this ref",
            Self::Twice => "ref_not_allowed: named twice in one push",
            Self::Stale => "fetch first: upstream has another value than you expect",
            Self::Create => "ref_not_allowed: this bottle may not create refs",
            Self::Update => "ref_not_allowed: this bottle may not update refs",
            Self::Delete => "ref_not_allowed: this bottle may not delete refs",
            Self::Force => "non-fast-forward: this bottle may not force",
            Self::TagMoves => "ref_not_allowed: a tag that exists may not be moved",
            Self::Twin => "ref_not_allowed: upstream has a ref that differs in case only",
            Self::Symbolic => "ref_not_allowed: upstream has a symbolic ref of this name",
        })
    }
}

/// Judges what needs no pack: all but whether an update is a fast-forward.
pub fn before_pack(policy: &PushPolicy, change: Change<'_>, upstream: &Upstream) -> Result<(), Denied> {
    let check = |fits: bool, denied| if fits { Ok(()) } else { Err(denied) };
    check(is_name(change.name), Denied::Name)?;
    check(policy.allow.iter().any(|pattern| matches(pattern.as_bytes(), change.name)), Denied::NotAllowed)?;
    check(upstream.leads_to.is_none(), Denied::Symbolic)?;
    check(upstream.current == change.old, Denied::Stale)?;
    match (change.old, change.new) {
        (None, _) => {
            check(policy.create, Denied::Create)?;
            check(!upstream.has_twin, Denied::Twin)
        }
        (Some(_), None) => check(policy.delete, Denied::Delete),
        (Some(_), Some(_)) => {
            check(policy.update, Denied::Update)?;
            check(policy.force || !change.name.starts_with(b"refs/tags/"), Denied::TagMoves)
        }
    }
}

/// Judges what needs the pack. `descends`: the new value provably descends from the old one.
pub fn after_pack(policy: &PushPolicy, change: Change<'_>, descends: bool) -> Result<(), Denied> {
    let update = change.old.is_some() && change.new.is_some();
    if update && !descends && !policy.force { Err(Denied::Force) } else { Ok(()) }
}

/// A star matches any text but the empty one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.iter().position(|b| *b == b'*') {
        None => pattern == name,
        Some(at) => {
            let (front, back) = (&pattern[..at], &pattern[at + 1..]);
            name.len() > front.len() + back.len() && name.starts_with(front) && name.ends_with(back)
        }
    }
}

/// Follows git-check-ref-format(1), and refuses characters that a terminal would hide or act on.
pub fn is_name(name: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(name) else { return false };
    let part = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with('.') && !part.ends_with(".lock");
    let plain = |c: char| !is_hostile(c) && !matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    text.starts_with("refs/")
        && text.split('/').count() >= 3
        && text.split('/').all(part)
        && text.chars().all(plain)
        && !text.contains("..")
        && !text.contains("@{")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ObjectId {
        ObjectId::from([n; 20])
    }

    fn policy(allow: &[&str]) -> PushPolicy {
        PushPolicy { allow: allow.iter().map(|text| (*text).to_owned()).collect(), ..PushPolicy::default() }
    }

    fn agent() -> PushPolicy {
        policy(&["refs/heads/agent/*", "refs/tags/agent-*"])
    }

    fn upstream(current: Option<u8>) -> Upstream {
        Upstream { current: current.map(id), ..Upstream::default() }
    }

    fn judged(policy: &PushPolicy, name: &str, old: Option<u8>, new: Option<u8>, upstream: &Upstream) -> Result<(), Denied> {
        before_pack(policy, Change { name: name.as_bytes(), old: old.map(id), new: new.map(id) }, upstream)
    }

    // covers: G01
    #[test]
    fn every_name_is_denied_that_no_pattern_allows() {
        let create = |name: &str| judged(&agent(), name, None, Some(1), &upstream(None));
        for name in [
            "refs/heads/agent/x",
            "refs/heads/agent/x/y",
            "refs/heads/agent/ünï",
            "refs/heads/agent/a.b",
            "refs/heads/agent/--exec=x-",
            "refs/heads/agent/main",
            "refs/tags/agent-1.0",
            "refs/heads/agent/@",
            "refs/heads/agent/x--y",
        ] {
            let expected = if name.contains("/--") { Err(Denied::Name) } else { Ok(()) };
            assert_eq!(create(name), expected, "{name}");
        }
        for name in [
            "refs/heads/main",
            "refs/heads/master",
            "refs/heads/agent",
            "refs/heads/Agent/x",
            "refs/heads/agentx",
            "refs/heads/x/agent/y",
            "refs/Heads/agent/x",
            "refs/tags/v1",
            "refs/tags/agent-",
            "refs/pull/1/head",
            "refs/merge-requests/1/head",
            "refs/notes/commits",
            "refs/replace/1111111111111111111111111111111111111111",
            "refs/meta/config",
            "refs/for/main",
            "refs/changes/01/1/1",
            "refs/remotes/origin/agent/x",
            "refs/stash/x",
            "refs/original/refs/heads/agent/x",
            "refs/heads/main/agent/x",
        ] {
            assert_eq!(create(name), Err(Denied::NotAllowed), "{name}");
        }
    }

    // covers: G01 G08
    #[test]
    fn what_is_no_ref_name_is_denied_before_any_pattern() {
        let everything = policy(&["refs/heads/*", "refs/tags/*"]);
        for name in [
            "HEAD",
            "FETCH_HEAD",
            "main",
            "refs/heads",
            "refs/heads/",
            "refs//heads/x",
            "refs/heads//x",
            "/refs/heads/x",
            "refs/heads/../x",
            "refs/heads/agent/../main",
            "refs/heads/./x",
            "refs/heads/.x",
            "refs/heads/x.",
            "refs/heads/x.lock",
            "refs/heads/x.lock/y",
            "refs/heads/x..y",
            "refs/heads/x y",
            "refs/heads/x~1",
            "refs/heads/x^",
            "refs/heads/x:y",
            "refs/heads/x?",
            "refs/heads/x*",
            "refs/heads/x[1]",
            "refs/heads/x\\y",
            "refs/heads/x@{1}",
            "refs/heads/x\n",
            "refs/heads/x\u{7f}",
            "refs/heads/\u{1b}[2J",
            "refs/heads/x\u{202e}y",
            "refs/heads/x\u{200b}",
            "refs/heads/x\u{9b}m",
            "refs/heads/e\u{301}",
            "refs/heads/-x",
            "refs/heads/--exec=sh",
            "refs/heads/-oProxyCommand=x",
            "../refs/heads/x",
            "refs/../heads/x",
            "",
        ] {
            assert_eq!(judged(&everything, name, None, Some(1), &upstream(None)), Err(Denied::Name), "{name:?}");
        }
        assert!(!is_name(b"refs/heads/\xff"));
        assert!(!is_name(b"refs/heads/\xc0\xaf"));
    }

    #[test]
    fn without_a_pattern_nothing_is_allowed() {
        assert_eq!(judged(&PushPolicy::default(), "refs/heads/agent/x", None, Some(1), &upstream(None)), Err(Denied::NotAllowed));
    }

    // covers: G02
    #[test]
    fn an_old_value_that_upstream_does_not_have_is_stale() {
        let name = "refs/heads/agent/x";
        for (old, is) in [(None, Some(1)), (Some(1), None), (Some(1), Some(2))] {
            assert_eq!(judged(&agent(), name, old, Some(3), &upstream(is)), Err(Denied::Stale), "{old:?} {is:?}");
        }
        assert_eq!(judged(&agent(), name, Some(1), Some(3), &upstream(Some(1))), Ok(()));
    }

    #[test]
    fn creation_is_denied_where_it_is_not_allowed() {
        let policy = PushPolicy { create: false, ..agent() };
        assert_eq!(judged(&policy, "refs/heads/agent/x", None, Some(1), &upstream(None)), Err(Denied::Create));
    }

    #[test]
    fn an_update_is_denied_where_it_is_not_allowed() {
        let policy = PushPolicy { update: false, ..agent() };
        assert_eq!(judged(&policy, "refs/heads/agent/x", Some(1), Some(2), &upstream(Some(1))), Err(Denied::Update));
    }

    #[test]
    fn a_deletion_is_denied_until_it_is_allowed() {
        let delete = |policy: &PushPolicy| judged(policy, "refs/heads/agent/x", Some(1), None, &upstream(Some(1)));
        assert_eq!(delete(&agent()), Err(Denied::Delete));
        assert_eq!(delete(&PushPolicy { delete: true, ..agent() }), Ok(()));
        assert_eq!(
            judged(&PushPolicy { delete: true, ..agent() }, "refs/heads/main", Some(1), None, &upstream(Some(1))),
            Err(Denied::NotAllowed)
        );
    }

    #[test]
    fn a_tag_is_not_moved_without_force() {
        let update = |policy: &PushPolicy| judged(policy, "refs/tags/agent-1", Some(1), Some(2), &upstream(Some(1)));
        assert_eq!(update(&agent()), Err(Denied::TagMoves));
        assert_eq!(update(&PushPolicy { force: true, ..agent() }), Ok(()));
    }

    #[test]
    fn a_name_that_differs_in_case_only_is_denied() {
        let twin = Upstream { has_twin: true, ..upstream(None) };
        assert_eq!(judged(&agent(), "refs/heads/agent/Main", None, Some(1), &twin), Err(Denied::Twin));
    }

    #[test]
    fn a_symbolic_ref_is_denied_for_what_it_leads_to() {
        let symbolic = Upstream { leads_to: Some("refs/heads/main".into()), ..upstream(Some(1)) };
        assert_eq!(judged(&agent(), "refs/heads/agent/x", Some(1), Some(2), &symbolic), Err(Denied::Symbolic));
    }

    #[test]
    fn an_update_that_is_no_fast_forward_needs_force() {
        let change = Change { name: b"refs/heads/agent/x", old: Some(id(1)), new: Some(id(2)) };
        assert_eq!(after_pack(&agent(), change, true), Ok(()));
        assert_eq!(after_pack(&agent(), change, false), Err(Denied::Force));
        assert_eq!(after_pack(&PushPolicy { force: true, ..agent() }, change, false), Ok(()));
        assert_eq!(after_pack(&agent(), Change { old: None, ..change }, false), Ok(()));
        assert_eq!(after_pack(&agent(), Change { new: None, ..change }, false), Ok(()));
    }
}
