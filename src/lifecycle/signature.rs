//! Whether one of a bottle's signers has signed a decision: `ssh-keygen -Y verify`, watched like any other process.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::asks::Decision;
use crate::control_socket::ClientId;
use crate::files::{Dir, PRIVATE};
use crate::trusted_program;

/// The namespace of the signatures: one that was made for something else does not count.
pub(super) const NAMESPACE: &str = "ask@bottle";
/// The signature's file in the runtime directory.
const FILE: &str = "answer.sig";
/// Far more than it takes; the program that hangs is no witness.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// A signature that is being verified.
#[derive(Debug)]
pub(super) struct Verification {
    child: Child,
    pidfd: OwnedFd,
    deadline: Instant,
    /// Whose decision it is.
    pub(super) client: ClientId,
    /// The decision.
    pub(super) decision: Decision,
}

impl Verification {
    /// Starts the program: it reads `hash` on its standard input, which is whole before it starts. It is not one that the agent, whose files
    /// are in `workspace`, could have written.
    pub(super) fn start(
        workspace: &Path,
        signers: &Path,
        signer: &str,
        hash: &str,
        client: ClientId,
        decision: Decision,
        runtime: &Dir,
    ) -> crate::error::Result<Self> {
        let signature = decision.signature.clone().unwrap_or_default();
        runtime.replace_unsynced(FILE, signature.as_bytes(), PRIVATE)?;
        let run = || -> io::Result<Self> {
            let (reader, mut writer) = io::pipe()?;
            // Less than any pipe holds.
            writer.write_all(hash.as_bytes())?;
            drop(writer);
            let directories = trusted_program::directories(workspace);
            let program = trusted_program::find("ssh-keygen", &directories, workspace).ok_or(io::ErrorKind::NotFound)?;
            let child = Command::new(program)
                .current_dir("/")
                .env_clear()
                .args(["-Y", "verify", "-n", NAMESPACE, "-I", signer, "-f"])
                .arg(signers)
                .arg("-s")
                .arg(runtime.path().join(FILE))
                .stdin(reader)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)).ok_or(io::ErrorKind::NotFound)?;
            let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
            Ok(Self { child, pidfd, deadline: Instant::now() + VERIFY_TIMEOUT, client, decision })
        };
        run().map_err(|error| {
            crate::error::Error::failed("the signature cannot be verified", format!("ssh-keygen: {error}"), "install OpenSSH's ssh-keygen")
        })
    }

    /// Readable once it has ended.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// When it has taken too long.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the signature holds; ends a program that has not ended.
    pub(super) fn end(mut self) -> (ClientId, Decision, bool) {
        let holds = match self.child.try_wait() {
            Ok(Some(status)) => status.success(),
            _ => false,
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        (self.client, self.decision, holds)
    }
}
