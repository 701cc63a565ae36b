//! Secrets on their way out: what kinds there are, how they can be encoded, and where in a message they can stand; and
//! harmless messages that look like it. Everything is made when a test runs: no file of this repository holds a token.

#![allow(dead_code, reason = "each test crate uses a part of the corpus")]

pub(crate) mod benign;
pub(crate) mod dice;
pub(crate) mod encodings;
pub(crate) mod keys;
pub(crate) mod positions;
pub(crate) mod tokens;
