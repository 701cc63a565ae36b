//! What the supervisor and the image builder share. Nothing here knows about bottles or images.

pub mod digest;
pub mod error;
#[expect(clippy::disallowed_methods, reason = "effect island: the only way to files of the store")]
pub mod files;
pub mod key;
pub mod suggest;
pub mod yaml;
