//! HTTP as a server: connections from an agent or a sibling, what is asked on them, and the answers.

pub mod access_log;
pub mod body;
pub mod conceal;
pub mod content_coding;
pub mod context;
pub mod handler;
pub mod headers;
pub mod refusal;
pub mod request;
pub mod revocable;
pub mod serve;
pub mod trailers;
pub mod tunnel;

mod arrival;
mod aws_chunked;
mod connection;
mod exchange;
mod forwarding;
mod h2_budget;
mod h2_resets;
mod intercept;
pub(crate) mod record;
mod request_body;
mod response_body;
mod slots;
mod sniff;
