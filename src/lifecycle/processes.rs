//! The components that run, all together: who is left, who serves, who does not answer, and how each is ended.

use std::time::Instant;

use bottle_init::control::ToInit;

use super::health::Health;
use super::watched_process::WatchedProcess;
use crate::backend::Process;

/// The components under watch, in the order of their start.
#[derive(Debug, Default)]
pub(super) struct Processes(Vec<WatchedProcess>);

impl Processes {
    /// Watches one more.
    pub(super) fn push(&mut self, process: Process) {
        self.0.push(WatchedProcess::new(process));
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// One of them.
    pub(super) fn get(&mut self, index: usize) -> &mut WatchedProcess {
        &mut self.0[index]
    }

    /// Each with its index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &WatchedProcess)> {
        self.0.iter().enumerate()
    }

    fn agents(&self) -> impl Iterator<Item = &WatchedProcess> {
        self.0.iter().filter(|process| process.is_agent())
    }

    fn sidecars(&self) -> impl Iterator<Item = &WatchedProcess> {
        self.0.iter().filter(|process| !process.is_agent())
    }

    /// No process is left.
    pub(super) fn all_exited(&self) -> bool {
        self.0.iter().all(|process| !process.alive)
    }

    /// Every sidecar serves, and the agent can start at once.
    pub(super) fn all_ready(&self) -> bool {
        self.0.iter().all(|process| process.served)
    }

    /// Who is not ready.
    pub(super) fn not_ready(&self) -> Vec<&str> {
        self.0.iter().filter(|process| !process.served).map(|process| process.handle.component.as_str()).collect()
    }

    /// Tells the agent's first process something.
    pub(super) fn send_to_agent(&self, message: &ToInit) {
        self.agents().for_each(|agent| agent.send(message));
    }

    /// Ends the agent's namespace at once.
    pub(super) fn kill_agent(&self) {
        self.agents().for_each(WatchedProcess::kill);
    }

    /// Asks the sidecars to end.
    pub(super) fn stop_sidecars(&self) {
        self.sidecars().for_each(WatchedProcess::stop);
    }

    /// Asks a sidecar to read its configuration again; false if it does not live.
    pub(super) fn reload(&self, component: &str) -> bool {
        let lives = self.sidecars().find(|sidecar| sidecar.handle.component == component && sidecar.alive);
        lives.inspect(|sidecar| sidecar.reload()).is_some()
    }

    /// Ends the sidecars at once; who of them still lived.
    pub(super) fn kill_sidecars(&self) -> Vec<String> {
        self.sidecars().for_each(WatchedProcess::kill);
        self.sidecars().filter(|sidecar| sidecar.alive).map(|sidecar| sidecar.handle.component.clone()).collect()
    }

    /// When the next sidecar must have said that it answers.
    pub(super) fn next_silence(&self) -> Option<Instant> {
        self.0.iter().filter_map(|process| process.health.due()).min()
    }

    /// Who has said nothing for too long, and did before. What came while this process itself stood still has not been read yet.
    pub(super) fn fall_silent(&mut self, now: Instant) -> Vec<String> {
        let overdue = self.0.iter_mut().filter(|process| process.health.due().is_some_and(|due| due <= now) && !process.has_spoken());
        let silence = |process: &mut WatchedProcess| {
            process.health = Health::Silent;
            process.handle.component.clone()
        };
        overdue.map(silence).collect()
    }

    /// Who does not answer.
    pub(super) fn silent(&self) -> Vec<String> {
        self.0.iter().filter(|process| process.health == Health::Silent).map(|process| process.handle.component.clone()).collect()
    }
}
