//! Bottle's own messages during a run. Writing them to standard error never keeps bottle from exiting.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::stderr;

use super::writer::Output;
use crate::signals::Signals;

/// How long a blocked reader may delay all last messages together.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// Messages to standard error.
#[derive(Debug)]
pub struct Messages {
    output: Option<Output>,
    left: Duration,
}

impl Default for Messages {
    fn default() -> Self {
        Self::to(Output::to(stderr()))
    }
}

impl Messages {
    fn to(output: Option<Output>) -> Self {
        Self { output, left: MESSAGE_TIMEOUT }
    }

    /// Writes a message, or drops it after [`MESSAGE_TIMEOUT`]. The exit code still reports the result.
    pub fn write(&mut self, text: &str) {
        let mut bytes = text.as_bytes();
        while let Some(output) = self.output.as_ref().filter(|_| !bytes.is_empty()) {
            let since = Instant::now();
            match output.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.left.is_zero() => return,
                Err(Errno::AGAIN) => {
                    let left = Timespec::try_from(self.left).unwrap_or_default();
                    wait(output, None, Some(&left));
                    self.left = self.left.saturating_sub(since.elapsed());
                }
                Err(_) => self.output = None,
            }
        }
    }

    /// Writes a message and waits for the reader without a limit. The error is a signal to exit.
    pub fn ask(&mut self, text: &str, signals: &mut Signals) -> Result<(), i32> {
        let mut bytes = text.as_bytes();
        while let Some(output) = self.output.as_ref().filter(|_| !bytes.is_empty()) {
            match output.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    wait(output, Some(signals), None);
                    if let Some(signal) = super::asks_to_end(signals) {
                        return Err(signal);
                    }
                }
                Err(_) => self.output = None,
            }
        }
        Ok(())
    }
}

/// Waits until the output is writable, a signal arrived, or the time is up.
fn wait(output: &Output, signals: Option<&Signals>, time: Option<&Timespec>) {
    let mut fds = vec![PollFd::new(output, PollFlags::OUT)];
    fds.extend(signals.map(|signals| PollFd::new(signals, PollFlags::IN)));
    // An interrupted wait is over.
    let _ = poll(&mut fds, time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_nobody_reads_cost_one_second_altogether() {
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        let mut messages = Messages::to(Output::to(&writer));
        let since = Instant::now();
        for _ in 0..100 {
            messages.write(&"x".repeat(10_000));
        }
        let took = since.elapsed();
        assert!(took >= MESSAGE_TIMEOUT && took < MESSAGE_TIMEOUT * 3, "{took:?}");
    }

    #[test]
    fn a_message_reaches_a_slow_reader_whole() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let text: String = (0..30_000).map(|n| format!("{n}\n")).collect();
        let mut messages = Messages::to(Output::to(&writer));
        drop(writer);
        let received = std::thread::scope(|scope| {
            let received = scope.spawn(move || std::io::read_to_string(&mut reader).unwrap());
            messages.write(&text);
            drop(messages);
            received.join().unwrap()
        });
        assert!(received == text);
    }
}
