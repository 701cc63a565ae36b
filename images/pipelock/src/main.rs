//! The `pipelock` sidecar.

fn main() {}
