//! What was scanned is sent, and upstream's report read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{self, SHA256};
use bottle_contract::event::{Event, Level};
use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::{Body, BodyError, Refused, body};
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::Push;
use super::receive::Received;
use crate::advert::{Service, Told};
use crate::commands::Request;
use crate::harmless::Harmless;
use crate::outlet::Outlet;
use crate::pkt::{self, Packet, Packets};
use crate::quarantine::Quarantine;
use crate::report::{Reading, Report};
use crate::upstream::{broke_here, refuse_error};

/// How often a waiting client is told how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// What is read of the pack at one time.
const CHUNK_SIZE: usize = 128 << 10;

/// Sends the push on. An error says that upstream did not get all of it, or did not say what it made of it.
pub(super) async fn forward(
    push: &Push,
    request: &Request,
    options: &[Vec<u8>],
    told: &Told,
    received: &Received,
    event: &Event,
    outlet: Option<&Outlet>,
) -> Result<Report, Refused> {
    let head = told.request(&request.commands, &request.wanted, options);
    let head = head.map_err(|why| Refused::new(Reason::UpstreamProtocol, why).place(Place::Upstream))?;
    let gone = Arc::new(AtomicU64::new(0));
    let sent: Body = match (&received.pack, &received.inspected) {
        (Some(pack), Ok(Some(inspected))) => Outgoing::new(head, pack.clone(), inspected.sha256.clone(), gone.clone())?.boxed(),
        (None, _) => body::full(head),
        _ => return Err(Refused::new(Reason::Internal, "a pack without a verdict")),
    };
    // What is about to leave is on record before it leaves.
    let mut record = event.clone();
    record.event = "push_allowed".into();
    record.level = Level::Info;
    push.events.write(&record);
    let idle = Duration::from_millis(push.table.limits.idle_ms);
    let waiting = async {
        let mut packets = push.repo.upstream.answer(Service::ReceivePack, 0, sent).await?;
        read(push, request, told, &mut packets, outlet, idle).await
    };
    tokio::pin!(waiting);
    let deadline = Instant::now() + Duration::from_millis(push.table.limits.forward_ms);
    let slow =
        |why: &str| Err(Refused::new(Reason::TooSlow, format!("{why}; fetch to see what became of the push")).place(Place::Upstream));
    let (mut seen, mut since) = (u64::MAX, Instant::now());
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL.min(idle / 2).max(Duration::from_millis(50)));
    ticks.reset();
    loop {
        tokio::select! {
            report = &mut waiting => return report,
            now = ticks.tick() => {
                let now = now.into_std();
                let bytes = gone.load(Ordering::Relaxed);
                if bytes != seen {
                    (seen, since) = (bytes, now);
                }
                // Once all is sent, what upstream says is waited for elsewhere, packet by packet.
                let all = received.pack.as_ref().map_or(0, Quarantine::written);
                if now > deadline {
                    return slow("upstream did not finish in time");
                }
                if bytes < all && now.duration_since(since) > idle {
                    return slow("upstream does not take the pack");
                }
                if let Some(outlet) = outlet {
                    outlet.say(&format!("git-gate: checked; upstream has {} of {} MB\n", bytes >> 20, all >> 20)).await;
                }
            }
        }
    }
}

/// Reads upstream's answer: words for the person, and the report.
async fn read(
    push: &Push,
    request: &Request,
    told: &Told,
    packets: &mut Packets,
    outlet: Option<&Outlet>,
    idle: Duration,
) -> Result<Report, Refused> {
    let hidden = push.repo.upstream.hidden();
    let mut harmless = Harmless::new(hidden.clone());
    let mut reading = Reading::new(&request.commands);
    let mut inner = BytesMut::new();
    let banded = told.can("side-band-64k");
    let started = Instant::now();
    let say = async |words: String| {
        if let (Some(outlet), false) = (outlet, words.is_empty()) {
            outlet.say(&words).await;
        }
    };
    loop {
        let silent =
            |_| Refused::new(Reason::TooSlow, "upstream does not say what became of the push: fetch to see").place(Place::Upstream);
        let packet = timeout(idle, packets.next()).await.map_err(silent)?.map_err(broke_here)?;
        let Some(packet) = packet else { break };
        let Packet::Data(line) = packet else { continue };
        refuse_error(&line, &push.repo.upstream)?;
        match line.first() {
            Some(1) if banded => {
                inner.extend_from_slice(&line[1..]);
                while let Some(packet) = pkt::take(&mut inner).map_err(broke_here)? {
                    if let Packet::Data(line) = packet {
                        reading.line(&line, &request.commands, &hidden);
                    }
                }
            }
            Some(2) if banded => say(harmless.push(&line[1..], started.elapsed())).await,
            Some(3) if banded => {
                let words = harmless.push(&line[1..], started.elapsed()) + &harmless.finish();
                let message = format!("upstream failed: {}", words.trim_end().replace('\n', "; "));
                return Err(Refused::new(Reason::UpstreamRefused, message).place(Place::Upstream));
            }
            _ => reading.line(&line, &request.commands, &hidden),
        }
    }
    say(harmless.finish()).await;
    Ok(reading.finish())
}

/// The request to upstream: the commands, then the bytes of the sealed file, whose hash is compared before the last of
/// them leave.
struct Outgoing {
    head: Option<Bytes>,
    pack: Quarantine,
    length: u64,
    at: u64,
    hash: digest::Context,
    expected: String,
    /// For whoever watches: bytes that were handed on.
    gone: Arc<AtomicU64>,
}

impl Outgoing {
    fn new(head: Vec<u8>, pack: Quarantine, expected: String, gone: Arc<AtomicU64>) -> Result<Self, Refused> {
        if !pack.is_sealed() {
            return Err(Refused::new(Reason::Internal, "a pack that could still change"));
        }
        let length = pack.written();
        Ok(Self { head: Some(head.into()), pack, length, at: 0, hash: digest::Context::new(&SHA256), expected, gone })
    }

    fn piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        if self.at == self.length {
            return Ok(None);
        }
        let other = || BodyError::Refused(Refused::new(Reason::Internal, "the pack is not what was scanned"));
        let mut piece = vec![0; CHUNK_SIZE];
        let read = self.pack.read_at(self.at, &mut piece).map_err(|_| other())?;
        piece.truncate(read);
        self.at += read as u64;
        self.gone.store(self.at, Ordering::Relaxed);
        self.hash.update(&piece);
        if read == 0 {
            return Err(other());
        }
        if self.at == self.length {
            let hash: String = self.hash.clone().finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            if hash != self.expected {
                return Err(other());
            }
        }
        Ok(Some(piece.into()))
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.piece().map(|piece| piece.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.at == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.head.as_ref().map_or(0, |head| head.len() as u64) + self.length - self.at)
    }
}
