//! Why a request was refused: stable slugs that agents, operators and tests can rely on.

use serde::{Deserialize, Serialize};

/// The response header that carries the slug of a refusal.
pub const HEADER: &str = "x-bottle-reason";

/// The response header that carries the number of values that were replaced by placeholders in the request.
pub const REDACTED_HEADER: &str = "x-bottle-redacted";

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $variant:ident = $slug:literal, $hint:literal;)*) => {
        /// A stable reason for a refusal. A refusal is a verdict, not an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason { $($(#[doc = $doc])* $variant,)* }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Reason] = &[$(Reason::$variant),*];

            /// The stable slug, as in `x-bottle-reason` and in the timeline.
            pub const fn slug(self) -> &'static str {
                match self { $(Reason::$variant => $slug,)* }
            }

            /// What the agent may do about it, one sentence.
            pub const fn hint(self) -> &'static str {
                match self { $(Reason::$variant => $hint,)* }
            }
        }
    };
}

reasons! {
    /// No route names this host.
    HostNotListed = "host_not_listed", "use a host that http://egress:9099/_bottle/routes lists, or ask the person who runs this bottle to add a route for this one";
    /// The host is listed, but not on this port.
    PortNotListed = "port_not_listed", "use port 443 or 80, or ask the person who runs this bottle to name the port in its route";
    /// A route names the host, none of its matches allows the method.
    MethodNotAllowed = "method_not_allowed", "use a method that http://egress:9099/_bottle/routes lists for this host, or ask the person who runs this bottle to widen its route";
    /// A route names the host, none of its matches allows the path.
    PathNotAllowed = "path_not_allowed", "use a path that http://egress:9099/_bottle/routes lists for this host, or ask the person who runs this bottle to widen its route";
    /// A person has been asked, and has not answered yet.
    ApprovalPending = "approval_pending", "a person has been asked: send the same request again later, or wait with the tool `bottle_wait`";
    /// A person has said no.
    ApprovalDenied = "approval_denied", "a person has said no: do without it, and do not send it again";
    /// The grant that allowed it has ended while it was under way, or another request took its last use.
    GrantEnded = "grant_ended", "what was approved for this has ended; ask the person who runs this bottle again if it is still needed";
    /// CONNECT host, SNI and Host or `:authority` do not agree.
    OriginMismatch = "origin_mismatch", "the CONNECT target, the TLS server name and the Host header must name the same origin";
    /// The target cannot be read in exactly one way.
    AmbiguousTarget = "ambiguous_target", "send the target in its one plain form, without dot segments, backslashes or raw special characters";
    /// The message framing or syntax is not exactly one valid message.
    MalformedRequest = "malformed_request", "send it as one well-formed HTTP message";
    /// Something other than TLS or HTTP inside a CONNECT.
    OpaqueTunnel = "opaque_tunnel", "only HTTP and TLS cross the wall: a database, SSH or another protocol does not, but through a gateway that speaks HTTP";
    /// A protocol upgrade that the policy does not know.
    UpgradeNotAllowed = "upgrade_not_allowed", "only WebSocket upgrades may pass";
    /// `git push` over HTTPS, around the gate.
    GitPushBypass = "git_push_bypass", "pushes go through git-gate: push to http://git-gate:9420/NAME.git, where NAME is declared under `git.repos` in the bottle";
    /// The gate has no such repository or service.
    RepoNotListed = "repo_not_listed", "this bottle has no such repository at git-gate; its manifest lists them under `git.repos`";
    /// The ref policy does not allow a change.
    RefNotAllowed = "ref_not_allowed", "push to a ref that this bottle allows, without force or deletion unless they are allowed";
    /// A commit or tag names somebody else as the one who made it.
    CommitterNotAllowed = "committer_not_allowed", "commits must name this bottle's own identity as their committer; make them again (git rebase --force-rebase), or push only your own";
    /// What was pushed is not a sound pack.
    PackNotSound = "pack_not_sound", "the pack cannot be read whole, so it cannot be checked; run `git fsck`, then push again";
    /// Upstream did not take a push that the gate let pass.
    UpstreamRefused = "upstream_refused", "the upstream repository refused this push; its own words say why";
    /// The address that would be dialled is not a public one.
    AddressNotPublic = "address_not_public", "ask the person who runs this bottle to name the address under `connect` in the route for this host, if it is the right one";
    /// A cloud metadata service, never exempt.
    MetadataAddress = "metadata_address", "do without: cloud metadata services are never reachable from a bottle";
    /// A secret or a secret-shaped value in the outgoing message.
    SecretDetected = "secret_detected", "the request holds something that looks like a credential; remove it and send again";
    /// The body cannot be decoded, so it cannot be judged.
    BodyNotScannable = "body_not_scannable", "the body's encoding cannot be read, so it cannot be checked; send it plain or gzip-encoded";
    /// A size limit was reached.
    TooLarge = "too_large", "the message is larger than this bottle allows";
    /// A deadline passed.
    TooSlow = "too_slow", "the message took longer than this bottle allows";
    /// Too many at once.
    TooMany = "too_many", "too many connections or requests at once; send fewer";
    /// The request would reach bottle itself.
    SelfRequest = "self_request", "a server inside the bottle is asked directly, without the proxy: name it localhost, or list it in NO_PROXY";
    /// The name does not resolve.
    NameNotResolved = "name_not_resolved", "the name of the origin does not resolve";
    /// The origin, or the next proxy, cannot be reached.
    UpstreamUnreachable = "upstream_unreachable", "the origin cannot be reached now; try again later";
    /// The origin's certificate does not hold.
    UpstreamTls = "upstream_tls", "the origin's certificate was refused";
    /// The origin's answer is not a valid message.
    UpstreamProtocol = "upstream_protocol", "the origin's answer is not a well-formed HTTP message";
    /// A sidecar that this one needs is gone.
    SidecarGone = "sidecar_gone", "a part of this bottle has ended, so nothing may leave it any more";
    /// A bug or an impossible state: fail closed.
    Internal = "internal", "the proxy failed and refuses rather than guess";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.slug())
    }
}

/// The JSON body of a refusal: what the agent reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The stable slug.
    pub reason: Reason,
    /// One sentence: what was refused.
    pub message: String,
    /// What the agent may do about it.
    pub hint: String,
    /// Which sidecar refused.
    pub component: String,
    /// Names this request in the timeline (`bottle explain`).
    pub request_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_what_serde_writes() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), serde_json::Value::from(reason.slug()));
        }
    }
}
