//! The way to the next hop: a tunnel through a proxy.

pub mod connect;
