//! The store: the directory, lock and metadata of each bottle on disk.
//!
//! A bottle is a directory `state/<id>`. It appears complete by one rename, with its lock held and its metadata written. So every reader can
//! determine whether it is running (the lock is held) and what must be undone (its metadata).

mod bottles;
mod claim;
mod holder;
mod id;
mod layout;
mod lock;
mod memory;
mod metadata;
mod process_identity;

pub use bottles::{Bottles, Entry, Status};
pub use claim::{Claim, Reservation, Takeover};
pub use holder::Holder;
pub use id::Id;
pub use layout::{Facts, Layout};
pub use memory::Forgotten;
pub use metadata::{Exit, HostPath, Metadata, Object, Phase, Supervisor, Workspace};
pub use process_identity::{boot_id, end as end_process, start_time};
