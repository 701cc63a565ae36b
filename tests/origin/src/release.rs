//! Streams whose events go only when a test lets them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

/// One gate for each stream's name, made by whoever comes first.
#[derive(Default)]
pub(crate) struct Releases(Mutex<HashMap<String, Arc<Semaphore>>>);

impl Releases {
    /// Lets `n` more events of `stream` go.
    pub(crate) fn release(&self, stream: &str, n: usize) {
        self.gate(stream).add_permits(n);
    }

    /// Waits for one event's release and uses it up.
    pub(crate) async fn wait(&self, stream: &str) {
        if let Ok(permit) = self.gate(stream).acquire_owned().await {
            permit.forget();
        }
    }

    fn gate(&self, stream: &str) -> Arc<Semaphore> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(stream.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))).clone()
    }
}
