//! Whole bottles, from the command line to the far end: the kernel and the far end are asked, not the program. Run as root, each test runs
//! as an ordinary user too.

#![allow(clippy::disallowed_methods, reason = "tests are made of effects")]

mod both_backends;
mod compose_images;
mod compose_life;
mod compose_network;
mod demo;
mod git_gate;
mod host_sockets;
mod life_abrupt;
mod life_bounds;
mod life_exit;
mod life_hang;
mod life_image;
mod life_launch;
mod life_output;
mod life_record;
mod life_secrets;
mod life_sidecars;
mod life_signals;
mod life_support;
mod life_terminal;
mod life_unread;
mod net_claude;
mod net_clients;
mod net_codex;
mod net_doctor;
mod net_flood;
mod net_isolation;
mod net_operations;
mod net_tools;
mod net_verdicts;
mod net_workspace;
mod net_workspace_git;
mod net_world;
