//! Events on standard error: one JSON line each, one `write(2)` each, never interleaved.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use bottle_contract::event::{Event, Level, rfc3339};

/// Where events go. Cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<Sink>);

enum Sink {
    Standard(Mutex<()>),
    Captured(Mutex<mpsc::Sender<Event>>),
}

impl Events {
    /// Standard error. A line that cannot be written ends the process: nothing may cross the wall unrecorded.
    pub fn stderr() -> Self {
        Self(Arc::new(Sink::Standard(Mutex::new(()))))
    }

    /// Into a channel, for tests.
    pub fn captured() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel();
        (Self(Arc::new(Sink::Captured(Mutex::new(sender)))), receiver)
    }

    /// An event of now.
    pub fn event(level: Level, slug: &str) -> Event {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Event::new(rfc3339(now.as_secs(), now.subsec_millis()), level, slug)
    }

    /// Writes one.
    pub fn write(&self, event: &Event) {
        match &*self.0 {
            Sink::Captured(sender) => {
                let _ = sender.lock().unwrap_or_else(PoisonError::into_inner).send(event.clone());
            }
            Sink::Standard(order) => {
                let mut line = Vec::with_capacity(512);
                if serde_json::to_writer(&mut line, event).is_err() {
                    std::process::abort();
                }
                line.push(b'\n');
                let _order = order.lock().unwrap_or_else(PoisonError::into_inner);
                // std's standard error is unbuffered: a line that fits the pipe is one write.
                if std::io::stderr().lock().write_all(&line).is_err() {
                    std::process::abort();
                }
            }
        }
    }

    /// Writes an event that is only a sentence.
    pub fn say(&self, level: Level, slug: &str, message: impl Into<String>) {
        let mut event = Self::event(level, slug);
        event.message = Some(message.into());
        self.write(&event);
    }
}
