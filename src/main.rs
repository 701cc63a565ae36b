//! The command line of `bottle`.

fn main() {}
