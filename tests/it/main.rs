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
mod files_faults;
mod help;
mod logs;
mod manifest;
mod manifest_commands;
mod manifest_files;
mod manifest_fuzz;
mod manifest_refusals;
mod plan;
mod store;
mod store_damage;
mod store_holder;
mod store_work;
mod support;
mod tidy;
mod timeline;
mod workspace;
mod workspace_apply;
