//! HTTP as a client: connections to the next hop that are kept or shared, retries, and tunnels through a proxy.

pub mod connect;
pub mod pool;
pub mod retry;
pub mod sender;

mod response_guard;
