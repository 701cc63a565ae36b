//! Tests of the supervisor that an ordinary user runs in under a minute. Run as root, they test more: other users,
//! other owners.

#![allow(clippy::disallowed_methods, reason = "tests are made of effects")]

mod agreement;
mod ca;
mod cli;
mod commands;
mod compose;
mod decisions;
mod definitions;
mod files;
mod help;
mod logs;
mod manifest;
mod plan;
mod providers;
mod store;
mod support;
mod tidy;
mod timeline;
mod toolchains;
mod workspace;
