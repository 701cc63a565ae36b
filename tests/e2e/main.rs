//! Whole bottles, from the command line to the far end: the kernel and the far end are asked, not the program. Run as root, each test runs
//! as an ordinary user too.

#![allow(clippy::disallowed_methods, reason = "tests are made of effects")]

mod both_backends;
mod compose;
mod demo;
mod git_gate;
mod host_sockets;
mod life;
mod net;
