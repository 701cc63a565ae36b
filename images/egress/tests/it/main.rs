//! The sidecar as a process: started through descriptors, driven by curl and raw sockets.

mod credentials;
mod grants;
mod hops;
mod lifecycle;
mod support;
