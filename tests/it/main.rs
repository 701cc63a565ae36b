//! Tests as an ordinary user.

mod manifest;
mod manifest_commands;
mod manifest_files;
mod manifest_fuzz;
