//! The configuration of `egress`: `egress.json` in [`crate::names::CONFIG_DIR`].

use serde::{Deserialize, Serialize};

use crate::route::Route;

/// The name of the file.
pub const FILE: &str = "egress.json";

/// What `egress` enforces. It names secrets by slot and never holds one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressConfig {
    /// The bottle's id, for events.
    pub bottle: String,
    /// Grows with each change; events name the generation that judged them.
    pub generation: u64,
    /// The table.
    pub routes: Vec<Route>,
    /// Where allowed requests go.
    pub upstream: Upstream,
    /// Limits.
    #[serde(default)]
    pub limits: crate::pipelock::Limits,
}

/// The next hop of `egress`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Upstream {
    /// Our own `pipelock`: plain HTTP/1.1 with absolute-form targets over this unix socket. TLS to the origin is
    /// pipelock's. The request carries [`INJECTED`] when a credential was put in.
    Link {
        /// The socket's path.
        socket: String,
    },
    /// An ordinary proxy: `CONNECT`, then TLS to the origin through it.
    Parent {
        /// Where it listens, `host:port`.
        address: String,
        /// PEM file with the authority that it signs with, trusted instead of the system's roots, if it intercepts.
        #[serde(default)]
        ca: Option<String>,
    },
}

/// A header on the link only: the name of the header that `egress` put in, so that `pipelock` does not take the real
/// credential for a leak. `egress` removes it from what the agent sends; `pipelock` removes it before the origin.
pub const INJECTED: &str = "x-bottle-injected";

/// A header on the link only, of any value: the agent asked over HTTP/2, so that the origin may be asked so too.
pub const HTTP_2: &str = "x-bottle-http-2";

/// A header on the link only: the request id that `egress` gave, so that both sidecars' events name the same request.
pub const REQUEST_ID: &str = "x-bottle-request-id";
