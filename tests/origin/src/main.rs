//! Local origins for tests, benches and the demonstration.

fn main() {}
