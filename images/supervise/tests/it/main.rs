//! The program between an agent, a sidecar that holds a request, and a supervisor that the tests play.

mod agent;
mod holder;
mod support;
