//! The network of a bottle, and what clients and agents see of it.

mod agents;
mod asks;
mod claude;
mod clients;
mod codex;
mod direct;
mod doctor;
mod flood;
mod isolation;
mod operations;
mod reloads;
pub(crate) mod tools;
mod verdicts;
mod workspace;
mod workspace_git;
pub(crate) mod world;
