//! Events on standard error: one JSON line each, in the order in which they happened.
//!
//! The event of an exchange is written behind its answer: it waits until the task that answers has given its bytes to the kernel, with
//! those of the other exchanges that end in the same turn of the runtime. Its moment becomes text only then.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use bottle_contract::event::{Event, Level, rfc3339};
use tokio::sync::Notify;

/// So many events wait at most. A turn of the runtime ends fewer exchanges.
const MOST: usize = 256;

/// Where events go. Cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<Sink>);

enum Sink {
    Standard(Standard),
    Captured(Mutex<mpsc::Sender<Event>>),
}

/// Where lines go.
type Out = Box<dyn Fn(&[u8]) -> std::io::Result<()> + Send + Sync>;

/// An event whose time is not written in it yet.
struct Waiting {
    since: SystemTime,
    event: Event,
}

struct Standard {
    out: Out,
    waiting: Mutex<Vec<Waiting>>,
    some_wait: Notify,
    /// A task writes what waits.
    written_behind: AtomicBool,
}

impl Standard {
    fn new(out: Out) -> Self {
        Self { out, waiting: Mutex::default(), some_wait: Notify::new(), written_behind: AtomicBool::new(false) }
    }

    /// Writes what waits, then `last`. The lock is held until all is written: nothing overtakes.
    fn write(&self, waiting: &mut Vec<Waiting>, last: Option<&Event>) {
        let mut lines = Vec::with_capacity(512 * (waiting.len() + 1));
        for Waiting { since, event } in waiting.iter_mut() {
            event.time = text(*since);
        }
        for event in waiting.iter().map(|waiting| &waiting.event).chain(last) {
            if serde_json::to_writer(&mut lines, event).is_err() {
                std::process::abort();
            }
            lines.push(b'\n');
        }
        waiting.clear();
        if (self.out)(&lines).is_err() {
            std::process::abort();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    /// Standard error. A line that cannot be written ends the process: nothing may cross the wall unrecorded.
    pub fn stderr() -> Self {
        Self(Arc::new(Sink::Standard(Standard::new(Box::new(|lines| std::io::stderr().lock().write_all(lines))))))
    }

    /// Into a channel, for tests.
    pub fn captured() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel();
        (Self(Arc::new(Sink::Captured(Mutex::new(sender)))), receiver)
    }

    /// An event of now.
    pub fn event(level: Level, slug: &str) -> Event {
        Event::new(text(SystemTime::now()), level, slug)
    }

    /// Writes one now, behind those that wait.
    pub fn write(&self, event: &Event) {
        match &*self.0 {
            Sink::Captured(sender) => {
                let _ = sender.lock().unwrap_or_else(PoisonError::into_inner).send(event.clone());
            }
            Sink::Standard(standard) => standard.write(&mut standard.lock(), Some(event)),
        }
    }

    /// Writes one, whose time is `since`, when the task that is running has had its turn.
    pub(crate) fn write_behind(&self, since: SystemTime, mut event: Event) {
        let Sink::Standard(standard) = &*self.0 else {
            event.time = text(since);
            return self.write(&event);
        };
        let mut waiting = standard.lock();
        waiting.push(Waiting { since, event });
        if waiting.len() > MOST || !standard.written_behind.load(Ordering::Relaxed) {
            standard.write(&mut waiting, None);
        } else if waiting.len() == 1 {
            standard.some_wait.notify_one();
        }
    }

    /// Writes what waits, whenever something does.
    pub(crate) async fn keep_writing(self) {
        let Sink::Standard(standard) = &*self.0 else { return };
        standard.written_behind.store(true, Ordering::Relaxed);
        loop {
            standard.some_wait.notified().await;
            self.write_waiting();
        }
    }

    /// Writes what waits, now.
    pub(crate) fn write_waiting(&self) {
        let Sink::Standard(standard) = &*self.0 else { return };
        let mut waiting = standard.lock();
        if !waiting.is_empty() {
            standard.write(&mut waiting, None);
        }
    }

    /// Writes a process' last event, also when it ends in the middle of writing another.
    pub(crate) fn write_last(&self, event: &Event) {
        let Sink::Standard(standard) = &*self.0 else { return self.write(event) };
        match standard.waiting.try_lock() {
            Ok(mut waiting) => standard.write(&mut waiting, Some(event)),
            Err(_) => standard.write(&mut Vec::new(), Some(event)),
        }
    }

    /// Writes an event that is only a sentence.
    pub fn say(&self, level: Level, slug: &str, message: impl Into<String>) {
        self.write(&Self::sentence(level, slug, message));
    }

    /// An event of now that is only a sentence.
    pub(crate) fn sentence(level: Level, slug: &str, message: impl Into<String>) -> Event {
        let mut event = Self::event(level, slug);
        event.message = Some(message.into());
        event
    }
}

fn text(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Events, and the writes that they have become: of each, the slugs of its lines.
    fn written() -> (Events, Arc<Mutex<Vec<Vec<String>>>>) {
        let writes = Arc::new(Mutex::new(Vec::new()));
        let seen = writes.clone();
        let out = move |lines: &[u8]| {
            let slugs = serde_json::Deserializer::from_slice(lines).into_iter::<Event>().map(|event| event.unwrap().event);
            seen.lock().unwrap().push(slugs.collect());
            Ok(())
        };
        (Events(Arc::new(Sink::Standard(Standard::new(Box::new(out))))), writes)
    }

    fn event(slug: &str) -> Event {
        Events::event(Level::Info, slug)
    }

    #[tokio::test]
    async fn what_ends_in_one_turn_is_written_behind_it_in_order() {
        let (events, writes) = written();
        let writer = tokio::spawn(events.clone().keep_writing());
        tokio::task::yield_now().await;
        events.write_behind(SystemTime::now(), event("a"));
        events.write_behind(SystemTime::now(), event("b"));
        assert_eq!(*writes.lock().unwrap(), Vec::<Vec<String>>::new());
        tokio::task::yield_now().await;
        assert_eq!(*writes.lock().unwrap(), [["a", "b"]]);
        events.write_behind(SystemTime::now(), event("c"));
        events.write(&event("now"));
        assert_eq!(*writes.lock().unwrap(), [["a", "b"], ["c", "now"]]);
        events.write_behind(SystemTime::now(), event("d"));
        writer.abort();
        events.write_waiting();
        events.write_waiting();
        assert_eq!(writes.lock().unwrap()[2..], [["d"]]);
    }

    #[test]
    fn without_a_task_that_writes_nothing_waits() {
        let (events, writes) = written();
        events.write_behind(SystemTime::now(), event("a"));
        assert_eq!(*writes.lock().unwrap(), [["a"]]);
    }

    #[tokio::test]
    async fn a_flood_of_events_does_not_wait_for_the_end_of_its_turn() {
        let (events, writes) = written();
        tokio::spawn(events.clone().keep_writing());
        tokio::task::yield_now().await;
        (0..=MOST).for_each(|_| events.write_behind(SystemTime::now(), event("a")));
        assert_eq!(writes.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [MOST + 1]);
    }

    #[tokio::test]
    async fn an_event_that_waited_tells_the_time_at_which_it_began() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        let out = move |line: &[u8]| {
            seen.lock().unwrap().extend_from_slice(line);
            Ok(())
        };
        let events = Events(Arc::new(Sink::Standard(Standard::new(Box::new(out)))));
        tokio::spawn(events.clone().keep_writing());
        tokio::task::yield_now().await;
        let mut untimed = event("a");
        untimed.time = String::new();
        events.write_behind(UNIX_EPOCH + Duration::from_millis(1_700_000_000_007), untimed);
        tokio::task::yield_now().await;
        let written: Event = serde_json::from_slice(&lines.lock().unwrap()).unwrap();
        assert_eq!(written.time, "2023-11-14T22:13:20.007Z");
    }

    #[test]
    fn the_last_event_is_written_while_another_is() {
        let (events, writes) = written();
        let Sink::Standard(standard) = &*events.0 else { unreachable!() };
        let _writing = standard.lock();
        events.write_last(&event("end"));
        assert_eq!(*writes.lock().unwrap(), [["end"]]);
    }
}
