//! What steps make for later steps of the same start.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use crate::error::{Error, Result};
use crate::plan::SidecarPlan;

/// A listening socket by the sidecar that serves it, and its name there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// The sidecar.
    pub component: String,
    /// Its name in the hand-over.
    pub name: String,
}

impl Listener {
    pub(super) fn new(sidecar: &SidecarPlan, name: &str) -> Self {
        Self { component: sidecar.component.clone(), name: name.to_owned() }
    }
}

/// What steps have made for later ones.
#[derive(Debug, Default)]
pub struct Products {
    /// The certificate of the authority that the agent trusts.
    pub agent_ca: String,
    /// The supervisor's end of its connection to `supervise`.
    pub supervise: Option<OwnedFd>,
    listeners: BTreeMap<Listener, OwnedFd>,
}

impl Products {
    /// Keeps a socket until its sidecar starts.
    pub fn put(&mut self, listener: Listener, socket: OwnedFd) {
        self.listeners.insert(listener, socket);
    }

    /// The socket that a sidecar serves.
    pub(super) fn take(&mut self, listener: &Listener) -> Result<OwnedFd> {
        self.listeners.remove(listener).ok_or_else(|| {
            let what = format!("`{}` has no socket `{}`", listener.component, listener.name);
            Error::failed(what, "it was not opened", "this is a bug in bottle: please report it")
        })
    }
}
