//! Sends the scanned pack to upstream, and reads upstream's report.

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
use crate::advert::{Service, UpstreamRefs};
use crate::commands::Request;
use crate::escape::LineEscaper;
use crate::pkt::{self, Packet, Packets};
use crate::quarantine::Quarantine;
use crate::report::{Report, ReportParser};
use crate::response::ResponseWriter;
use crate::upstream::{refuse_error_packet, stream_failure};

/// Between two progress messages to a waiting client.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of the pack that are read at once.
const CHUNK_SIZE: usize = 128 << 10;

/// Forwards the push. An error means that upstream did not get all of it, or did not report a result.
pub(super) async fn forward(
    push: &Push,
    request: &Request,
    options: &[Vec<u8>],
    refs: &UpstreamRefs,
    received: &Received,
    event: &Event,
    writer: Option<&ResponseWriter>,
) -> Result<Report, Refused> {
    let head = refs.request(&request.commands, &request.capabilities, options);
    let head = head.map_err(|why| Refused::new(Reason::UpstreamProtocol, why).place(Place::Upstream))?;
    let sent_bytes = Arc::new(AtomicU64::new(0));
    let body: Body = match (&received.pack, &received.inspected) {
        (Some(pack), Ok(Some(inspected))) => Outgoing::new(head, pack.clone(), inspected.sha256.clone(), sent_bytes.clone())?.boxed(),
        (None, _) => body::full(head),
        _ => return Err(Refused::new(Reason::Internal, "a pack without a verdict")),
    };
    // The event is written before the pack leaves.
    let mut record = event.clone();
    record.event = "push_allowed".into();
    record.level = Level::Info;
    push.events.write(&record);
    let idle = Duration::from_millis(push.policy.limits.idle_ms);
    let waiting = async {
        let mut packets = push.repo.upstream.run(Service::ReceivePack, 0, body).await?;
        read(push, request, refs, &mut packets, writer, idle).await
    };
    tokio::pin!(waiting);
    let deadline = Instant::now() + Duration::from_millis(push.policy.limits.forward_ms);
    let slow = |why: &str| Err(Refused::new(Reason::TooSlow, format!("{why}; fetch to see the result of the push")).place(Place::Upstream));
    let (mut seen, mut since) = (u64::MAX, Instant::now());
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL.min(idle / 2).max(Duration::from_millis(50)));
    ticks.reset();
    loop {
        tokio::select! {
            report = &mut waiting => return report,
            now = ticks.tick() => {
                let now = now.into_std();
                let bytes = sent_bytes.load(Ordering::Relaxed);
                if bytes != seen {
                    (seen, since) = (bytes, now);
                }
                // Once all is sent, `read` waits for upstream's report packet by packet.
                let all = received.pack.as_ref().map_or(0, Quarantine::written);
                if now > deadline {
                    return slow("upstream did not finish in time");
                }
                if bytes < all && now.duration_since(since) > idle {
                    return slow("upstream does not take the pack");
                }
                if let Some(writer) = writer {
                    writer.progress(&format!("git-gate: checked; upstream has {} of {} MB\n", bytes >> 20, all >> 20)).await;
                }
            }
        }
    }
}

/// Reads upstream's response: progress messages and the report.
async fn read(
    push: &Push,
    request: &Request,
    refs: &UpstreamRefs,
    packets: &mut Packets,
    writer: Option<&ResponseWriter>,
    idle: Duration,
) -> Result<Report, Refused> {
    let redactor = push.repo.upstream.redactor();
    let mut escaper = LineEscaper::new(redactor.clone());
    let mut parser = ReportParser::new(&request.commands);
    let mut inner = BytesMut::new();
    let banded = refs.can("side-band-64k");
    let started = Instant::now();
    let report_progress = async |text: String| {
        if let (Some(writer), false) = (writer, text.is_empty()) {
            writer.progress(&text).await;
        }
    };
    loop {
        let silent =
            |_| Refused::new(Reason::TooSlow, "upstream does not report the result of the push: fetch to see").place(Place::Upstream);
        let packet = timeout(idle, packets.next()).await.map_err(silent)?.map_err(stream_failure)?;
        let Some(packet) = packet else { break };
        let Packet::Data(line) = packet else { continue };
        refuse_error_packet(&line, &push.repo.upstream)?;
        match line.first() {
            Some(1) if banded => {
                inner.extend_from_slice(&line[1..]);
                while let Some(packet) = pkt::take(&mut inner).map_err(stream_failure)? {
                    if let Packet::Data(line) = packet {
                        parser.line(&line, &request.commands, &redactor);
                    }
                }
            }
            Some(2) if banded => report_progress(escaper.push(&line[1..], started.elapsed())).await,
            Some(3) if banded => {
                let text = escaper.push(&line[1..], started.elapsed()) + &escaper.finish();
                let message = format!("upstream failed: {}", text.trim_end().replace('\n', "; "));
                return Err(Refused::new(Reason::UpstreamRefused, message).place(Place::Upstream));
            }
            _ => parser.line(&line, &request.commands, &redactor),
        }
    }
    report_progress(escaper.finish()).await;
    Ok(parser.finish())
}

/// The body of the request to upstream: the commands, then the sealed file. Its hash is checked before its last chunk
/// leaves.
struct Outgoing {
    head: Option<Bytes>,
    pack: Quarantine,
    length: u64,
    at: u64,
    hash: digest::Context,
    expected: String,
    /// Bytes of the pack that were sent, for the progress messages.
    sent_bytes: Arc<AtomicU64>,
}

impl Outgoing {
    fn new(head: Vec<u8>, pack: Quarantine, expected: String, sent_bytes: Arc<AtomicU64>) -> Result<Self, Refused> {
        if !pack.is_sealed() {
            return Err(Refused::new(Reason::Internal, "the pack is not sealed"));
        }
        let length = pack.written();
        Ok(Self { head: Some(head.into()), pack, length, at: 0, hash: digest::Context::new(&SHA256), expected, sent_bytes })
    }

    fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        if self.at == self.length {
            return Ok(None);
        }
        let other = || BodyError::Refused(Refused::new(Reason::Internal, "the pack is not what was scanned"));
        let mut chunk = vec![0; CHUNK_SIZE];
        let read = self.pack.read_at(self.at, &mut chunk).map_err(|_| other())?;
        chunk.truncate(read);
        self.at += read as u64;
        self.sent_bytes.store(self.at, Ordering::Relaxed);
        self.hash.update(&chunk);
        if read == 0 {
            return Err(other());
        }
        if self.at == self.length {
            let hash: String = self.hash.clone().finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            if hash != self.expected {
                return Err(other());
            }
        }
        Ok(Some(chunk.into()))
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.chunk().map(|chunk| chunk.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.at == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.head.as_ref().map_or(0, |head| head.len() as u64) + self.length - self.at)
    }
}
