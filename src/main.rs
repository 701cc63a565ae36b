//! The entry: the supervisor, or, started by it in fresh namespaces, the inside half of a bottle.

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use bottle::backend::compose::emptier::{EMPTY, inside};

fn main() -> ExitCode {
    let mut args = std::env::args_os().peekable();
    // An engine starts it by its whole path.
    if args.peek().is_some_and(|name| Path::new(name).file_name() == Some(bottle_init::ARGV0.as_ref())) {
        if let (Some(command), Some(path)) = (args.nth(1), args.next()) {
            if command == bottle_init::JOIN {
                return ExitCode::from(bottle_init::join(path.as_ref()));
            }
            if command == EMPTY {
                return ExitCode::from(inside(path.as_ref()));
            }
        }
        // SAFETY: the supervisor has placed the control socket there, and nothing has been opened since.
        let control = unsafe { OwnedFd::from_raw_fd(bottle_init::CONTROL_FD) };
        return ExitCode::from(bottle_init::main(control));
    }
    ExitCode::from(bottle::cli::main(args))
}
