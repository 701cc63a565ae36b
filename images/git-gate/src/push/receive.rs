//! The pack arrives, is kept and is scanned, and upstream is asked what it has: three things at one time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::Refused;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{Push, question};
use crate::advert::{Service, Told};
use crate::commands::Request;
use crate::inspect::{Inspected, Progress, inspect};
use crate::outlet::Outlet;
use crate::pack::{Bounds, Unsound};
use crate::pkt::{Packet, Packets};
use crate::quarantine::{Full, Inlet, Quarantine, quarantine};
use crate::upstream::{broke_here, refuse_error};

/// How often a waiting client is told how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// Deep enough for the scanner in a debug build; only what is touched is resident.
const STACK_BYTES: usize = 4 << 20;

/// All that a verdict needs.
pub(super) struct Received {
    /// Refs that are other names for others, as far as upstream tells: name and target.
    pub(super) symbolic: Vec<(Vec<u8>, String)>,
    /// What upstream has now.
    pub(super) told: Result<Told, Refused>,
    /// The pack, if there is one.
    pub(super) pack: Option<Quarantine>,
    /// What is in it.
    pub(super) inspected: Result<Option<Inspected>, Refused>,
}

/// Receives and inspects.
pub(super) async fn receive(push: &Push, request: &Request, packets: Packets, outlet: Option<&Outlet>) -> Received {
    let limits = &push.table.limits;
    let idle = Duration::from_millis(limits.idle_ms);
    if !request.has_pack() {
        let (told, symbolic) = tokio::join!(ask(push, request, idle), question::symbolic(push, &request.commands));
        return Received { symbolic, told, pack: None, inspected: Ok(None) };
    }
    let made = quarantine(&push.yard.room, push.repo.policy.pack_bytes);
    let (inlet, pack) = match made {
        Ok(made) => made,
        Err(error) => {
            let refused = Refused::new(Reason::Internal, format!("there is no room for the pack: {error}"));
            return Received { symbolic: Vec::new(), told: Err(refused.clone()), pack: None, inspected: Err(refused) };
        }
    };
    let progress = Arc::new(Shown::default());
    let inspecting = match begin(push, pack.clone(), progress.clone()) {
        Ok(inspecting) => inspecting,
        Err(refused) => return Received { symbolic: Vec::new(), told: Err(refused.clone()), pack: None, inspected: Err(refused) },
    };
    let patience = Duration::from_millis(limits.inspect_ms);
    let inspected = async {
        let slow = || {
            pack.abandon();
            Refused::new(Reason::TooSlow, format!("the pack was not read within {} ms", patience.as_millis()))
        };
        match timeout(patience, inspecting).await {
            Ok(Ok(outcome)) => outcome.map_err(unsound),
            Ok(Err(_)) => Err(Refused::new(Reason::Internal, "the pack was not read")),
            Err(_) => Err(slow()),
        }
    };
    let asked = async { tokio::join!(ask(push, request, idle), question::symbolic(push, &request.commands)) };
    let mut work = Box::pin(async { tokio::join!(asked, keep(packets, inlet, idle), inspected) });
    let mut ticks = interval_at(Instant::now() + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ((told, symbolic), kept, inspected) = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => {
                if let Some(outlet) = outlet {
                    outlet.say(&progress.words(pack.written())).await;
                }
            }
        }
    };
    drop(work);
    // Why it could not be kept says more than that it did not arrive.
    let inspected = kept.and(inspected).map(Some);
    Received { symbolic, told, pack: Some(pack), inspected }
}

/// What upstream has now, of the refs that are named.
async fn ask(push: &Push, request: &Request, idle: Duration) -> Result<Told, Refused> {
    let upstream = &push.repo.upstream;
    let silent = |_| Refused::new(Reason::TooSlow, "upstream says nothing").place(Place::Upstream);
    let mut packets = timeout(idle, upstream.advertisement(Service::ReceivePack, 0)).await.map_err(silent)??;
    let mut told = Told::default();
    loop {
        match timeout(idle, packets.next()).await.map_err(silent)?.map_err(broke_here)? {
            Some(Packet::Data(line)) => {
                refuse_error(&line, upstream)?;
                told.line(&line, &request.commands);
            }
            Some(_) => return Ok(told),
            None => return Err(broke_here(crate::pkt::Broken::CutOff)),
        }
    }
}

/// Keeps the pack. Once it cannot be kept it is read to its end all the same: a client that is still sending does not
/// listen.
async fn keep(mut packets: Packets, inlet: Inlet, idle: Duration) -> Result<(), Refused> {
    let mut inlet = Some(inlet);
    let mut outcome = Ok(());
    loop {
        let broken = |why: &str| Refused::new(Reason::MalformedRequest, format!("the pack did not arrive: {why}")).place(Place::Body);
        match timeout(idle, packets.raw()).await {
            Err(_) => return Err(broken("it stands still")),
            Ok(Err(error)) => return Err(broken(&error.to_string())),
            Ok(Ok(None)) => break,
            Ok(Ok(Some(piece))) => {
                if let Some(Err(full)) = inlet.as_mut().map(|inlet| inlet.write(&piece)) {
                    inlet = None;
                    outcome = Err(too_large(full));
                }
            }
        }
    }
    match inlet {
        None => outcome,
        Some(inlet) => inlet.seal().map_err(|error| Refused::new(Reason::Internal, format!("the pack cannot be sealed: {error}"))),
    }
}

fn too_large(full: Full) -> Refused {
    match full {
        Full::Pack(most) => Refused::new(Reason::TooLarge, format!("the pack is larger than {most} bytes; push in smaller parts")),
        Full::Room => Refused::new(Reason::TooMany, "the quarantine is full of other pushes; try again"),
        Full::Kernel(error) => Refused::new(Reason::TooLarge, format!("the pack cannot be kept: {error}; push in smaller parts")),
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

/// How far the inspection is: what is done in the low half, of how much in the high half.
#[derive(Default)]
struct Shown {
    arriving: AtomicU64,
    resolving: AtomicU64,
}

impl Shown {
    fn set(&self, progress: Progress) {
        let pair = |done: u64, all: u64| all << 32 | done & 0xffff_ffff;
        match progress {
            Progress::Arriving(done, all) => self.arriving.store(pair(done, all), Ordering::Relaxed),
            Progress::Resolving(done, all) => self.resolving.store(pair(done, all), Ordering::Relaxed),
            Progress::Naming => {}
        }
    }

    fn words(&self, bytes: u64) -> String {
        let of = |value: u64| (value & 0xffff_ffff, value >> 32);
        match (of(self.arriving.load(Ordering::Relaxed)), of(self.resolving.load(Ordering::Relaxed))) {
            ((done, all), _) if done < all => format!("git-gate: checked {done} of {all} objects, {} MB\n", bytes >> 20),
            (_, (done, all)) if done < all => format!("git-gate: checked {done} of {all} deltas\n"),
            _ => format!("git-gate: {} MB arrived\n", bytes >> 20),
        }
    }
}

/// Starts the inspection in a thread of its own: it waits for bytes, and then it computes.
fn begin(push: &Push, pack: Quarantine, shown: Arc<Shown>) -> Result<oneshot::Receiver<Result<Inspected, Unsound>>, Refused> {
    let (sender, receiver) = oneshot::channel();
    let limits = push.table.limits;
    let bounds = Bounds {
        objects: push.repo.policy.objects,
        inflated: limits.inflated_bytes,
        delta: limits.delta_bytes,
        held: limits.held_bytes,
        depth: limits.delta_depth,
    };
    let scanner = push.table.scanner.clone();
    let run = move || {
        let outcome = inspect(&pack, &scanner, &bounds, limits.history_bytes, |progress| shown.set(progress));
        let _ = sender.send(outcome);
    };
    let thread = std::thread::Builder::new().name("inspect".into()).stack_size(STACK_BYTES).spawn(run);
    thread.map_err(|error| Refused::new(Reason::Internal, format!("no thread to read the pack: {error}")))?;
    Ok(receiver)
}
