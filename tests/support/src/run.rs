//! A run of `bottle`, on pipes or at a terminal: what is waited for, and what is asked at its end.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use assert_cmd::assert::Assert;

use crate::bottle::Bottle;
use crate::canary::Sighting;
use crate::pty::Pty;
use crate::residue::{Leftover, Residue};
use crate::warden::{Ending, Warden};

/// A run that has ended, with its paths and ids replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub ending: Ending,
    /// All of it.
    pub stdout: String,
    /// All of it but the line that names the record's last hash.
    pub stderr: String,
    /// What that line says to run, word by word: `audit verify ID --head HASH`.
    pub record: Option<Vec<String>>,
}

impl Ended {
    /// Compares everything, and shows everything if anything differs.
    #[track_caller]
    pub fn expect(&self, code: i32, stdout: &str, stderr: &str) {
        self.assert().code(code).stdout(stdout.to_owned()).stderr(stderr.to_owned());
    }

    /// The same for `assert_cmd`: its exit, and what it wrote.
    pub fn assert(&self) -> Assert {
        let status = ExitStatus::from_raw(match self.ending {
            Ending::Code(code) => code << 8,
            Ending::Signal(signal) => signal,
        });
        Assert::new(Output { status, stdout: self.stdout.clone().into(), stderr: self.stderr.clone().into() })
    }
}

/// A run at a terminal.
#[derive(Debug)]
pub struct AtTerminal<'a> {
    pub(crate) bottle: &'a Bottle,
    /// The operator's side.
    pub pty: Pty,
    pub(crate) warden: Warden,
    pub(crate) residue: Residue,
}

impl AtTerminal<'_> {
    /// The id of `bottle` itself.
    pub fn pid(&self) -> i32 {
        self.warden.pid()
    }

    /// Waits for the end, checks residue (the terminal's modes too) and secrets, and returns how it ended and every byte that
    /// was on the screen, but for the line that names the record's last hash.
    pub fn end(mut self) -> (Ending, Vec<u8>) {
        let patience = self.bottle.patience;
        let Some(ending) = self.warden.wait(patience).expect("the warden reports") else {
            panic!("bottle did not end within {patience:?}; on the screen: {}", self.pty.seen().escape_ascii())
        };
        self.residue.assert_empty_after();
        self.pty.look();
        let screen = self.pty.read_to_end(patience).expect("the terminal ends with its last process");
        let mut spilled = self.bottle.spilled(&[self.warden.id()]);
        spilled.extend(self.bottle.spilled_in(&[("screen", &screen)]));
        assert!(spilled.is_empty(), "secrets were found: {spilled:#?}");
        (ending, without_record(&screen).0)
    }
}

/// A run on pipes that goes on.
#[derive(Debug)]
pub struct OnPipes<'a> {
    pub(crate) bottle: &'a Bottle,
    pub(crate) warden: Warden,
    pub(crate) residue: Residue,
    pub(crate) stdout: Collector,
    pub(crate) stderr: Collector,
}

impl OnPipes<'_> {
    /// The id of `bottle` itself.
    pub fn pid(&self) -> i32 {
        self.warden.pid()
    }

    /// The id of the warden, below which all processes of the run are.
    pub fn warden(&self) -> i32 {
        self.warden.id()
    }

    /// Waits until `text` has come on standard output; panics if it does not.
    #[track_caller]
    pub fn said(&self, text: &str) {
        self.stdout.wait_for(text, self.bottle.patience);
    }

    /// Waits for the end of the first process, and does not look at anything else.
    pub fn wait(&mut self, patience: Duration) -> Option<Ending> {
        self.warden.wait(patience).expect("the warden reports")
    }

    /// The processes of the run that live now.
    pub fn processes(&self) -> Vec<Leftover> {
        self.residue.leftovers().into_iter().filter(|leftover| matches!(leftover, Leftover::Process { .. })).collect()
    }

    /// Waits for the end. Panics if the run hangs, left anything behind, or spilled a secret.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let patience = self.bottle.patience;
        let ending = self.warden.wait(patience).expect("the warden reports");
        // Asked while the warden lives, as it holds the orphans.
        let left = self.residue.settled();
        let ended = self.collect(ending);
        Residue::assert_none(&left);
        ended
    }

    /// The end of a run that was killed: like [`Self::end`], but what it left is the caller's to ask for.
    #[track_caller]
    pub fn end_killed(mut self) -> Ended {
        let ending = self.warden.wait(self.bottle.patience).expect("the warden reports");
        self.collect(ending)
    }

    #[track_caller]
    fn collect(self, ending: Option<Ending>) -> Ended {
        let bottle = self.bottle;
        let spilled = bottle.spilled(&[self.warden.id()]);
        drop(self.warden);
        let [stdout, stderr] = [self.stdout, self.stderr].map(Collector::end);
        ended(bottle, ending, spilled, &stdout, &stderr)
    }
}

/// The end of a run that [`Warden::collect`] has begun. Panics if the run hangs, left anything behind, or spilled a secret.
#[track_caller]
pub(crate) fn end_collected(bottle: &Bottle, mut warden: Warden, residue: &Residue) -> Ended {
    let ending = warden.wait(bottle.patience).expect("the warden reports");
    // Asked while the warden lives, as it holds the orphans.
    let left = residue.settled();
    let spilled = bottle.spilled(&[warden.id()]);
    let output = warden.output().expect("its output is collected");
    let ended = ended(bottle, ending, spilled, &output.stdout, &output.stderr);
    assert_eq!(ended.assert().get_output().status, output.status, "the warden does not end as the run");
    Residue::assert_none(&left);
    ended
}

/// What a run amounts to: whether it ended in time, whether it spilled a secret, and what it wrote.
#[track_caller]
fn ended(bottle: &Bottle, ending: Option<Ending>, spilled: Vec<Sighting>, stdout: &[u8], stderr: &[u8]) -> Ended {
    let patience = bottle.patience;
    let spilled = bottle.spilled_in(&[("stdout", stdout), ("stderr", stderr)]).into_iter().chain(spilled).collect::<Vec<_>>();
    let (stderr, record) = without_record(stderr);
    let (out, err) = (bottle.normal(stdout), bottle.normal(&stderr));
    let Some(ending) = ending else { panic!("bottle did not end within {patience:?}\nstdout:\n{out}\nstderr:\n{err}") };
    assert!(spilled.is_empty(), "secrets were found: {spilled:#?}");
    Ended { ending, stdout: out, stderr: err, record }
}

/// A hash differs with every run: it is compared by asking `bottle audit verify`.
fn without_record(said: &[u8]) -> (Vec<u8>, Option<Vec<String>>) {
    let mut record = None;
    let rest = said.split_inclusive(|byte| *byte == b'\n').filter(|line| {
        let command = line.strip_prefix(b"record: bottle ").map(String::from_utf8_lossy);
        // How long it took, and how often it asked, differs with every run, too.
        let is_record = command.is_some() || line.starts_with(b"ended: bottle ");
        record = record.take().or(command.map(|command| command.split_whitespace().map(str::to_owned).collect()));
        !is_record
    });
    (rest.flatten().copied().collect(), record)
}

/// What has come, whether that is all, and the news of it.
type Collected = (Mutex<(Vec<u8>, bool)>, Condvar);

/// A stream that is read as it comes.
#[derive(Debug)]
pub(crate) struct Collector {
    seen: Arc<Collected>,
    thread: JoinHandle<()>,
}

impl Collector {
    pub(crate) fn of(mut reader: impl Read + Send + 'static) -> Self {
        let seen = Arc::new((Mutex::new((Vec::new(), false)), Condvar::new()));
        let shared = seen.clone();
        let thread = thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            loop {
                let count = match reader.read(&mut buffer) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    // What came before an error is what there is.
                    read => read.unwrap_or(0),
                };
                let mut seen = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                seen.0.extend_from_slice(&buffer[..count]);
                seen.1 = count == 0;
                shared.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { seen, thread }
    }

    #[track_caller]
    fn wait_for(&self, text: &str, patience: Duration) {
        let is_there = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.seen.1.wait_timeout_while(seen, patience, |seen| !seen.1 && !is_there(&seen.0));
        let seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        assert!(is_there(&seen.0), "{text:?} did not come; instead: {}", seen.0.escape_ascii());
    }

    fn end(self) -> Vec<u8> {
        self.thread.join().expect("output is collected");
        std::mem::take(&mut self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).0)
    }
}
