//! What arrived, in memory and as JSON lines on disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bottle_test_support::origin::{Connection, Request};
use serde::Serialize;
use tokio::sync::watch;

/// Bodies larger than this are recorded by their digest alone.
pub(crate) const MAX_SAVED_BODY_BYTES: usize = 16 << 20;

/// Everything that arrived since the start.
pub(crate) struct Journal {
    book: Mutex<Book>,
    /// Grows with each request, for those who wait.
    count: watch::Sender<usize>,
    connections: AtomicU64,
    bodies: Option<PathBuf>,
}

struct Book {
    requests: Vec<Request>,
    requests_file: File,
    connections: Vec<Connection>,
    connections_file: File,
}

impl Journal {
    /// Begins `requests.jsonl` and `connections.jsonl` in `directory`; with `bodies`, each body becomes a file there too.
    pub(crate) fn create(directory: &Path, bodies: Option<PathBuf>) -> io::Result<Self> {
        let open = |name: &str| OpenOptions::new().create(true).append(true).open(directory.join(name));
        if let Some(bodies) = &bodies {
            std::fs::create_dir_all(bodies)?;
        }
        let book = Book {
            requests: Vec::new(),
            requests_file: open("requests.jsonl")?,
            connections: Vec::new(),
            connections_file: open("connections.jsonl")?,
        };
        Ok(Self { book: Mutex::new(book), count: watch::Sender::new(0), connections: AtomicU64::new(0), bodies })
    }

    /// The number of a connection that was just accepted.
    pub(crate) fn number_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records a connection once it is known what it wants.
    pub(crate) fn record_connection(&self, connection: Connection) -> io::Result<()> {
        let mut book = self.book();
        write_line(&mut book.connections_file, &connection)?;
        book.connections.push(connection);
        Ok(())
    }

    /// Numbers and records a request; when this returns, it is on disk as far as the kernel is concerned.
    pub(crate) fn record(&self, mut request: Request, body: &[u8]) -> io::Result<u64> {
        let mut book = self.book();
        request.n = book.requests.len() as u64 + 1;
        if let Some(directory) = self.bodies.as_ref().filter(|_| !body.is_empty()) {
            std::fs::write(directory.join(request.n.to_string()), body)?;
        }
        write_line(&mut book.requests_file, &request)?;
        book.requests.push(request);
        let count = book.requests.len();
        drop(book);
        self.count.send_replace(count);
        Ok(count as u64)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.book().requests.clone()
    }

    pub(crate) fn connections(&self) -> Vec<Connection> {
        self.book().connections.clone()
    }

    /// Returns when `n` requests have arrived.
    pub(crate) async fn reached(&self, n: usize) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.count.subscribe().wait_for(|count| *count >= n).await;
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One write for the whole line, so that a reader never sees two lines interleaved.
fn write_line(file: &mut File, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    file.write_all(&line)
}
