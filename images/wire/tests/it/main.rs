//! The machinery as a whole: a served socket, scripted agents, and a forwarder that records what reaches it.

mod binding;
mod bounds;
mod conduct;
mod framing;
mod http2;
mod imports;
mod leaf;
mod pool;
mod refusals;
mod streams;
mod support;
