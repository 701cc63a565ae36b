//! One push, from the first command to the report.
//!
//! 1. The gate reads the commands, asks upstream for its *current* refs, and scans the pack while it arrives in
//!    [`quarantine`] ([`receive`]).
//! 2. Policy, pack and findings make one verdict ([`verdict`]): all of the push or nothing.
//! 3. The gate sends the sealed file and the commands that it judged, encoded anew ([`forward`]). Upstream
//!    checks each old value again when it changes the ref, so nothing that happened meanwhile is overwritten.
//! 4. The gate returns upstream's report, escaped.
//!
//! Nothing leaves before step 3. After it, the client gets upstream's own report.

mod forward;
mod receive;
mod upstream_query;
mod verdict;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bottle_contract::event::{Event, Level, RefChange};
use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::{Body, Events, Refused};
use bytes::Bytes;
use http::Response;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::commands::{Command, Request};
use crate::gate_policy::{GatePolicy, Repo};
use crate::pkt::{Broken, Packet, Packets};
use crate::quarantine::Budget;
use crate::report::Report;
use crate::response::{self, ResponseWriter};
use receive::Received;
use verdict::Refusal;

/// Push options of one push, and the length of each.
const MAX_OPTIONS: usize = 64;
const MAX_OPTION_BYTES: usize = 1024;

/// Limits that all pushes share.
#[derive(Clone)]
pub struct PushLimits {
    budget: Budget,
    slots: Arc<Semaphore>,
}

impl PushLimits {
    /// From the configured limits.
    pub fn new(limits: &bottle_contract::gate::GateLimits) -> Self {
        Self { budget: Budget::new(limits.quarantine_bytes), slots: Arc::new(Semaphore::new(limits.pushes)) }
    }
}

/// One push, with what it needs.
pub struct Push {
    /// Its repository.
    pub repo: Arc<Repo>,
    /// The policy generation that judges it.
    pub policy: Arc<GatePolicy>,
    /// The limits that it shares with others.
    pub limits: PushLimits,
    /// The event log.
    pub events: Events,
    /// Its id in events.
    pub request_id: String,
}

/// A push request: commands, push options, and the packets that hold the pack.
struct PushRequest {
    request: Request,
    options: Vec<Vec<u8>>,
    packets: Packets,
}

impl Push {
    /// Starts a streamed response and runs the push in the background.
    pub fn respond(self, body: Body) -> Response<Body> {
        let (writer, response) = response::streamed("application/x-git-receive-pack-result");
        tokio::spawn(async move { self.run(body, writer).await });
        response
    }

    async fn run(self, body: Body, writer: ResponseWriter) {
        let started = Instant::now();
        let mut event = Events::event(Level::Info, "push");
        event.request_id = Some(self.request_id.clone());
        event.generation = Some(self.policy.generation);
        event.repo = Some(self.repo.name.clone());
        match self.read(body).await {
            // A client that only checks for access before it sends much.
            Ok(None) => return,
            Err((refused, packets, side_band)) => {
                match side_band {
                    true => writer.fatal(&refused).await,
                    false => writer.error(&refused).await,
                }
                refuse(&mut event, refused.reason, refused.to_string());
                self.drain(packets).await;
            }
            Ok(Some(request)) => self.push(request, &writer, &mut event).await,
        }
        event.time = Events::event(Level::Info, "push").time;
        event.micros = Some(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.events.write(&event);
    }

    /// Reads the request up to the pack; none if it has no commands.
    async fn read(&self, body: Body) -> Result<Option<PushRequest>, (Refused, Packets, bool)> {
        let mut packets = Packets::new(body);
        let mut request = Request::default();
        match self.read_lines(&mut packets, &mut request).await {
            Err(refused) => Err((refused, packets, request.capabilities.side_band)),
            Ok(None) => Ok(None),
            Ok(Some(options)) => Ok(Some(PushRequest { request, options, packets })),
        }
    }

    /// Reads the rest of a request: a client that is still sending does not read the response.
    async fn drain(&self, mut packets: Packets) {
        let idle = Duration::from_millis(self.policy.limits.idle_ms);
        while let Ok(Ok(Some(_))) = timeout(idle, packets.raw()).await {}
    }

    /// Reads the commands and the push options; none if there are no commands.
    async fn read_lines(&self, packets: &mut Packets, request: &mut Request) -> Result<Option<Vec<Vec<u8>>>, Refused> {
        let idle = Duration::from_millis(self.policy.limits.idle_ms);
        let malformed = |why: &str| Refused::new(Reason::MalformedRequest, format!("not a push: {why}")).place(Place::Body);
        let next = async |packets: &mut Packets| {
            let packet = timeout(idle, packets.next()).await.map_err(|_| malformed("it stalled"))?;
            packet.map_err(|broken| malformed(&broken.to_string()))
        };
        loop {
            match next(packets).await? {
                Some(Packet::Data(line)) => request.line(&line, self.policy.limits.commands).map_err(|why| malformed(&why))?,
                Some(Packet::Flush) => break,
                Some(_) => return Err(malformed("an unexpected packet")),
                None if request.commands.is_empty() => return Ok(None),
                None => return Err(malformed(&Broken::CutOff.to_string())),
            }
        }
        if request.commands.is_empty() {
            return Ok(None);
        }
        let mut options = Vec::new();
        if !request.capabilities.options {
            return Ok(Some(options));
        }
        loop {
            match next(packets).await? {
                Some(Packet::Data(_)) if !self.repo.policy.options => {
                    return Err(malformed("push options, which this bottle does not allow"));
                }
                Some(Packet::Data(line)) if options.len() < MAX_OPTIONS && line.len() <= MAX_OPTION_BYTES => options.push(line.to_vec()),
                Some(Packet::Flush) => return Ok(Some(options)),
                _ => return Err(malformed("too many or too long push options")),
            }
        }
    }

    async fn push(&self, push_request: PushRequest, writer: &ResponseWriter, event: &mut Event) {
        let PushRequest { request, options, packets } = push_request;
        let Request { commands, capabilities, .. } = &request;
        // Progress needs a side band.
        let progress = capabilities.side_band.then_some(writer);
        let report_progress = async |text: String| {
            if let Some(writer) = progress {
                writer.progress(&text).await;
            }
        };
        let n = commands.len();
        report_progress(format!("git-gate: {n} ref{} to change; the pack is checked as it arrives\n", if n == 1 { "" } else { "s" })).await;
        let Ok(_slot) = self.limits.slots.clone().acquire_owned().await else { return };
        let received = receive::receive(self, &request, packets, progress).await;
        let descends = upstream_query::descent(self, commands, received.history()).await;
        let judged = verdict::judge(self, &request, &options, &received, &descends);
        self.describe(event, commands, &received);
        let refusal = match judged {
            Err(refusal) => refusal,
            Ok(refs) => match forward::forward(self, &request, &options, &refs, &received, event, progress).await {
                Ok(report) => {
                    let done = report.is_done();
                    writer.send(report.packets(commands, capabilities)).await;
                    results(event, &report);
                    match done {
                        true => event.message = Some("upstream has taken it".into()),
                        false => refuse(event, Reason::UpstreamRefused, "upstream did not take all of it".into()),
                    }
                    return;
                }
                Err(refused) => Refusal::of(&refused, commands),
            },
        };
        for line in &refusal.messages {
            report_progress(format!("git-gate: {line}\n")).await;
        }
        writer.send(refusal.report.packets(commands, capabilities)).await;
        results(event, &refusal.report);
        event.rule = refusal.rule;
        refuse(event, refusal.reason, refusal.messages.join("; "));
    }

    /// Describes the push in its event, whatever its result. A name that looks like a secret is withheld.
    fn describe(&self, event: &mut Event, commands: &[Command], received: &Received) {
        let null = gix_hash::ObjectId::null(gix_hash::Kind::Sha1);
        let loggable = |name: &Bytes| match self.policy.scanner.scan(name) {
            None => bottle_contract::Untrusted::new(name).to_string(),
            Some(_) => "(withheld)".to_owned(),
        };
        // One line of a log holds at most a hundred.
        let change = |command: &Command| RefChange {
            name: loggable(&command.name),
            old: command.old.unwrap_or(null).to_string(),
            new: command.new.unwrap_or(null).to_string(),
            result: String::new(),
        };
        event.refs = commands.iter().take(100).map(change).collect();
        event.sent = received.pack.as_ref().map(|pack| pack.written());
        if let Ok(Some(inspected)) = &received.inspected {
            event.objects = Some(inspected.objects);
            event.pack = Some(inspected.sha256.clone());
        }
    }
}

fn refuse(event: &mut Event, reason: Reason, message: String) {
    event.level = Level::Warn;
    event.reason = Some(reason);
    event.message = Some(message);
}

fn results(event: &mut Event, report: &Report) {
    for (change, result) in event.refs.iter_mut().zip(&report.results) {
        change.result = match result {
            Ok(()) => "ok".to_owned(),
            Err(why) => why.clone(),
        };
    }
}
