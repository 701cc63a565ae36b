//! The whole program, from the command line to the far end. Run as root, each test runs as an ordinary user too.

#![allow(clippy::disallowed_methods, reason = "tests are made of effects")]

mod net_claude;
mod net_clients;
mod net_doctor;
mod net_isolation;
mod net_tools;
mod net_verdicts;
mod net_workspace;
mod net_world;
