//! The way to the next hop: connections that are kept or shared, and tunnels through a proxy.

pub mod connect;
pub mod sender;
