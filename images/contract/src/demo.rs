//! Messages of the demonstration's origin to `bottle demo`, on standard output: one line [`Ready`], then one [`Request`] per line.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The host that the origin answers as.
pub const HOST: &str = "api.demo.test";

/// The origin is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Its TLS listener.
    pub address: SocketAddr,
    /// The certificate of its authority, as PEM.
    pub certificate: String,
}

/// A request that arrived. It contains a credential, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// The values of all `authorization` headers.
    pub authorization: Vec<String>,
}
