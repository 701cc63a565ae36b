//! Tests of the supervisor that an ordinary user runs in under a minute.

mod manifest;
mod manifest_commands;
mod manifest_files;
mod manifest_fuzz;
