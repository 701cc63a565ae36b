//! Images, written and unpacked: their bytes are taken apart by hand, and other programs read them.

#![allow(clippy::disallowed_methods, reason = "tests are made of effects")]

mod lab;
mod recipe;
mod store;
mod unpacked;
mod verify;
mod writer;
