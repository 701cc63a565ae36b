//! What is known about each bottle, on disk: where it lives, who holds it, what was made for it, and how it ended.
//!
//! A bottle is a directory `state/<id>`. It appears complete, by one rename, with its lock already held and its metadata written; so
//! whoever finds it can tell whether it lives (the lock is held) and what must be undone (its metadata).

mod claim;
mod holder;
mod id;
mod layout;
mod list;
mod lock;
mod memory;
mod metadata;
mod process;

pub use claim::{Claim, Takeover};
pub use holder::Holder;
pub use id::Id;
pub use layout::{Facts, Layout};
pub use list::{Bottles, Entry, Status};
pub use memory::Forgotten;
pub use metadata::{Exit, HostPath, Metadata, Object, Phase, Supervisor, Workspace};
pub use process::{boot_id, end as end_process, start_time};
