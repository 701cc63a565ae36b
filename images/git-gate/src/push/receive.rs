//! Receives the pack, scans it and asks upstream for its refs, all at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::Refused;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::Push;
use super::upstream_query::{self, SymbolicRef};
use crate::advert::{Service, UpstreamRefs};
use crate::commands::Request;
use crate::history::History;
use crate::inspect::{Inspected, Progress, inspect};
use crate::pack::{Bounds, Unsound};
use crate::pkt::{Packet, Packets};
use crate::quarantine::{Full, PackWriter, Quarantine, quarantine};
use crate::response::ResponseWriter;
use crate::upstream::{refuse_error_packet, stream_failure};

/// Between two progress messages to a waiting client.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// Enough for the scanner in a debug build. Untouched pages take no memory.
const STACK_BYTES: usize = 4 << 20;

/// The input of a verdict.
pub(super) struct Received {
    /// Upstream's symbolic refs, as far as it lists them.
    pub(super) symbolic: Vec<SymbolicRef>,
    /// Upstream's current refs.
    pub(super) refs: Result<UpstreamRefs, Refused>,
    /// The pack, if there is one.
    pub(super) pack: Option<Quarantine>,
    /// Its contents.
    pub(super) inspected: Result<Option<Inspected>, Refused>,
    /// The history of a push without a pack.
    no_history: History,
}

impl Received {
    fn failed(refused: Refused) -> Self {
        Self::new(Vec::new(), Err(refused.clone()), None, Err(refused))
    }

    fn new(
        symbolic: Vec<SymbolicRef>,
        refs: Result<UpstreamRefs, Refused>,
        pack: Option<Quarantine>,
        inspected: Result<Option<Inspected>, Refused>,
    ) -> Self {
        Self { symbolic, refs, pack, inspected, no_history: History::default() }
    }

    /// The pack's commits; empty if there is no sound pack.
    pub(super) fn history(&self) -> &History {
        match &self.inspected {
            Ok(Some(inspected)) => &inspected.history,
            _ => &self.no_history,
        }
    }
}

/// Receives the pack, inspects it and queries upstream.
pub(super) async fn receive(push: &Push, request: &Request, packets: Packets, writer: Option<&ResponseWriter>) -> Received {
    let limits = &push.policy.limits;
    let idle = Duration::from_millis(limits.idle_ms);
    if !request.has_pack() {
        let (refs, symbolic) = tokio::join!(upstream_refs(push, request, idle), upstream_query::symbolic_refs(push, &request.commands));
        return Received::new(symbolic, refs, None, Ok(None));
    }
    let (pack_writer, pack) = match quarantine(&push.limits.budget, push.repo.policy.pack_bytes) {
        Ok(both) => both,
        Err(error) => return Received::failed(Refused::new(Reason::Internal, format!("there is no memory for the pack: {error}"))),
    };
    let progress = Arc::new(ProgressCounter::default());
    let inspecting = match start_inspection(push, pack.clone(), progress.clone()) {
        Ok(inspecting) => inspecting,
        Err(refused) => return Received::failed(refused),
    };
    let inspection_timeout = Duration::from_millis(limits.inspect_ms);
    let inspected = async {
        let slow = || {
            pack.abandon();
            Refused::new(Reason::TooSlow, format!("the pack was not read within {} ms", inspection_timeout.as_millis()))
        };
        match timeout(inspection_timeout, inspecting).await {
            Ok(Ok(outcome)) => outcome.map_err(unsound),
            Ok(Err(_)) => Err(Refused::new(Reason::Internal, "the pack was not read")),
            Err(_) => Err(slow()),
        }
    };
    let queries = async { tokio::join!(upstream_refs(push, request, idle), upstream_query::symbolic_refs(push, &request.commands)) };
    let mut work = Box::pin(async { tokio::join!(queries, store(packets, pack_writer, idle), inspected) });
    let mut ticks = interval_at(Instant::now() + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ((refs, symbolic), stored, inspected) = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => {
                if let Some(writer) = writer {
                    writer.progress(&progress.message(pack.written())).await;
                }
            }
        }
    };
    drop(work);
    // An error of the store explains why the inspection found the pack incomplete.
    let inspected = stored.and(inspected).map(Some);
    Received::new(symbolic, refs, Some(pack), inspected)
}

/// Upstream's current values of the refs that the commands name.
async fn upstream_refs(push: &Push, request: &Request, idle: Duration) -> Result<UpstreamRefs, Refused> {
    let upstream = &push.repo.upstream;
    let silent = |_| Refused::new(Reason::TooSlow, "upstream is silent").place(Place::Upstream);
    let mut packets = timeout(idle, upstream.advertisement(Service::ReceivePack, 0)).await.map_err(silent)??;
    let mut refs = UpstreamRefs::default();
    loop {
        match timeout(idle, packets.next()).await.map_err(silent)?.map_err(stream_failure)? {
            Some(Packet::Data(line)) => {
                refuse_error_packet(&line, upstream)?;
                refs.line(&line, &request.commands);
            }
            Some(_) => return Ok(refs),
            None => return Err(stream_failure(crate::pkt::Broken::CutOff)),
        }
    }
}

/// Stores the pack. If that fails, it still reads the pack to its end: a client that is still sending does not read the
/// response.
async fn store(mut packets: Packets, pack_writer: PackWriter, idle: Duration) -> Result<(), Refused> {
    let mut pack_writer = Some(pack_writer);
    let mut outcome = Ok(());
    loop {
        let broken = |why: &str| Refused::new(Reason::MalformedRequest, format!("the pack did not arrive: {why}")).place(Place::Body);
        match timeout(idle, packets.raw()).await {
            Err(_) => return Err(broken("it stalled")),
            Ok(Err(error)) => return Err(broken(&error.to_string())),
            Ok(Ok(None)) => break,
            Ok(Ok(Some(chunk))) => {
                if let Some(Err(full)) = pack_writer.as_mut().map(|pack_writer| pack_writer.write(&chunk)) {
                    pack_writer = None;
                    outcome = Err(too_large(full));
                }
            }
        }
    }
    match pack_writer {
        None => outcome,
        Some(pack_writer) => {
            pack_writer.seal().map_err(|error| Refused::new(Reason::Internal, format!("the pack cannot be sealed: {error}")))
        }
    }
}

fn too_large(full: Full) -> Refused {
    match full {
        Full::Pack(max) => Refused::new(Reason::TooLarge, format!("the pack is larger than {max} bytes; push in smaller parts")),
        Full::Budget => Refused::new(Reason::TooMany, "the quarantine is full of other pushes; try again"),
        Full::Kernel(error) => Refused::new(Reason::TooLarge, format!("the pack cannot be stored: {error}; push in smaller parts")),
    }
}

fn unsound(unsound: Unsound) -> Refused {
    let reason = match unsound {
        Unsound::TooLarge(..) => Reason::TooLarge,
        Unsound::Abandoned => Reason::MalformedRequest,
        _ => Reason::PackNotSound,
    };
    Refused::new(reason, unsound.to_string()).place(Place::Body)
}

/// The inspection's progress. Each counter packs the number done (low half) and the total (high half).
#[derive(Default)]
struct ProgressCounter {
    arriving: AtomicU64,
    resolving: AtomicU64,
}

impl ProgressCounter {
    fn set(&self, progress: Progress) {
        let pair = |done: u64, all: u64| all << 32 | done & 0xffff_ffff;
        match progress {
            Progress::Arriving(done, all) => self.arriving.store(pair(done, all), Ordering::Relaxed),
            Progress::Resolving(done, all) => self.resolving.store(pair(done, all), Ordering::Relaxed),
            Progress::Naming => {}
        }
    }

    fn message(&self, bytes: u64) -> String {
        let of = |value: u64| (value & 0xffff_ffff, value >> 32);
        match (of(self.arriving.load(Ordering::Relaxed)), of(self.resolving.load(Ordering::Relaxed))) {
            ((done, all), _) if done < all => format!("git-gate: checked {done} of {all} objects, {} MB\n", bytes >> 20),
            (_, (done, all)) if done < all => format!("git-gate: checked {done} of {all} deltas\n"),
            _ => format!("git-gate: {} MB arrived\n", bytes >> 20),
        }
    }
}

/// Starts the inspection in a thread of its own, because it blocks.
fn start_inspection(
    push: &Push,
    pack: Quarantine,
    counter: Arc<ProgressCounter>,
) -> Result<oneshot::Receiver<Result<Inspected, Unsound>>, Refused> {
    let (sender, receiver) = oneshot::channel();
    let limits = push.policy.limits;
    let bounds = Bounds {
        objects: push.repo.policy.objects,
        inflated: limits.inflated_bytes,
        delta: limits.delta_bytes,
        retained: limits.held_bytes,
        depth: limits.delta_depth,
    };
    let scanner = push.policy.scanner.clone();
    let run = move || {
        let outcome = inspect(&pack, &scanner, &bounds, limits.history_bytes, |progress| counter.set(progress));
        let _ = sender.send(outcome);
    };
    let thread = std::thread::Builder::new().name("inspect".into()).stack_size(STACK_BYTES).spawn(run);
    thread.map_err(|error| Refused::new(Reason::Internal, format!("no thread to read the pack: {error}")))?;
    Ok(receiver)
}
