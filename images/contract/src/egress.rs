//! The configuration of `egress`: `egress.json` in [`crate::names::CONFIG_DIR`].

use serde::{Deserialize, Serialize};

use crate::grant::Grant;
use crate::route::Route;

/// The name of the file.
pub const FILE: &str = "egress.json";

/// The configuration of `egress`. It names secrets by slot and contains none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressConfig {
    /// The bottle's id, for events.
    pub bottle: String,
    /// Increases with each change. Events carry the generation that judged them.
    pub generation: u64,
    /// The routes.
    pub routes: Vec<Route>,
    /// What was approved beside the routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// Where allowed requests go.
    pub upstream: Upstream,
    /// How a person is asked. `None`: nobody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Asks>,
    /// Limits.
    #[serde(default)]
    pub limits: crate::pipelock::Limits,
}

/// How a person is asked about a request that no route allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asks {
    /// Where `supervise` takes questions: the path of a unix socket.
    pub socket: String,
    /// How long a request is held, in milliseconds.
    pub hold_ms: u64,
    /// Every request that no route allows is asked about, not only those of routes that say so.
    pub unlisted: bool,
}

/// The next hop of `egress`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Upstream {
    /// Our own `pipelock`: plain HTTP/1.1 with absolute-form targets over this unix socket. TLS to the origin is
    /// pipelock's. The request carries [`INJECTED`] if a credential was injected.
    Link {
        /// The socket's path.
        socket: String,
    },
    /// An ordinary proxy: `CONNECT`, then TLS to the origin through it.
    Parent {
        /// Its address, `host:port`.
        address: String,
        /// A PEM file with its signing authority, if it intercepts. Trusted instead of the system's roots.
        #[serde(default)]
        ca: Option<String>,
    },
}

/// A header on the link only: the name of the header with the injected credential, so that `pipelock` does not report the
/// real credential as a leak. `egress` removes it from the agent's requests, and `pipelock` before the origin.
pub const INJECTED: &str = "x-bottle-injected";

/// A header on the link only, of any value: the agent used HTTP/2, so the origin may be asked over HTTP/2 too.
pub const HTTP_2: &str = "x-bottle-http-2";

/// A header on the link only: the generation of the policy by which `egress` judged the request, so that `pipelock` judges it by the same one.
pub const GENERATION: &str = "x-bottle-generation";

/// A header on the link only: the request id of `egress`, so that the events of both sidecars share it.
pub const REQUEST_ID: &str = "x-bottle-request-id";
