//! Events on standard error: one JSON line each, in the order in which they happened.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use bottle_contract::event::{Event, Level, rfc3339};

/// Where events go. Cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<Sink>);

/// Writes one whole line.
type WriteLine = dyn Fn(&[u8]) -> std::io::Result<()> + Send + Sync;

enum Sink {
    /// Each line in one write, so that lines of several threads never mix.
    Lines(Box<WriteLine>),
    Captured(Mutex<mpsc::Sender<Event>>),
}

impl Events {
    /// Standard error. A line that cannot be written ends the process: nothing may cross the wall unrecorded.
    pub fn stderr() -> Self {
        // Its lock is reentrant: a panic in the middle of a write can still be reported.
        Self::lines(|line| std::io::stderr().lock().write_all(line))
    }

    fn lines(write: impl Fn(&[u8]) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Sink::Lines(Box::new(write))))
    }

    /// Into a channel, for tests.
    pub fn captured() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel();
        (Self(Arc::new(Sink::Captured(Mutex::new(sender)))), receiver)
    }

    /// An event of now.
    pub fn event(level: Level, slug: &str) -> Event {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Event::new(rfc3339(since.as_secs(), since.subsec_millis()), level, slug)
    }

    /// Writes one.
    pub fn write(&self, event: &Event) {
        match &*self.0 {
            Sink::Captured(sender) => {
                let _ = sender.lock().unwrap_or_else(PoisonError::into_inner).send(event.clone());
            }
            Sink::Lines(write) => {
                let Ok(mut line) = serde_json::to_vec(event) else { std::process::abort() };
                line.push(b'\n');
                if write(&line).is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_one_whole_line_even_if_several_threads_write() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let seen = written.clone();
        let events = Events::lines(move |line| {
            seen.lock().unwrap().push(line.to_vec());
            Ok(())
        });
        std::thread::scope(|scope| {
            for thread in ["a", "b"] {
                let events = &events;
                scope.spawn(move || (0..100).for_each(|_| events.say(Level::Info, thread, "two\nlines")));
            }
        });
        let lines = written.lock().unwrap();
        let parsed: Vec<Event> = lines.iter().map(|line| serde_json::from_slice(line.strip_suffix(b"\n").unwrap()).unwrap()).collect();
        assert_eq!(lines.len(), 200);
        assert!(lines.iter().all(|line| line.iter().filter(|b| **b == b'\n').count() == 1));
        assert!(["a", "b"].iter().all(|thread| parsed.iter().filter(|event| event.event == *thread).count() == 100));
    }
}
