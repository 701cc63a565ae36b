//! `bottle`: the supervisor.

fn main() {}
