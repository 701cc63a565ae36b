//! The address that an exchange went to, noted however the exchange ends.

use bottle_wire::Notes;
use http::{Extensions, Request};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};

use super::connect::Dialled;

/// While this lives, the request is on its way; dropped, it notes where the request had gone by then: also of a request
/// that nobody awaits any longer, as it may have arrived all the same.
#[derive(Debug)]
pub(super) struct NotesAddress {
    connection: CaptureConnection,
    notes: Notes,
}

impl NotesAddress {
    /// For a request that is about to be sent.
    pub(super) fn of<B>(request: &mut Request<B>, notes: &Notes) -> Self {
        Self { connection: capture_connection(request), notes: notes.clone() }
    }
}

impl Drop for NotesAddress {
    fn drop(&mut self) {
        let mut extras = Extensions::new();
        if let Some(connected) = self.connection.connection_metadata().as_ref() {
            connected.get_extras(&mut extras);
        }
        if let Some(dialled) = extras.get::<Dialled>() {
            self.notes.note(|noted| noted.dialled = Some(dialled.address().to_owned()));
        }
    }
}
