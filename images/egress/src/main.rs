//! The `egress` sidecar.

fn main() {}
