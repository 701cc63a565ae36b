//! What the demonstration's origin tells `bottle demo` on its standard output: [`Ready`] on the first line, then one [`Request`] a line.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The host that the origin answers as.
pub const HOST: &str = "api.demo.test";

/// The origin serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Where it takes TLS connections.
    pub address: SocketAddr,
    /// The certificate of its authority, as PEM.
    pub certificate: String,
}

/// A request that arrived. It holds a credential: no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// `authorization`, once for each such header.
    pub authorization: Vec<String>,
}
