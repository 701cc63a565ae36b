//! One push, from the first command to the report.
//!
//! 1. The commands are read. Upstream is asked what it has *now*, while the pack arrives in [`quarantine`] and is
//!    scanned as it arrives ([`receive`]).
//! 2. Policy, pack and findings make one verdict ([`verdict`]): all of the push or nothing.
//! 3. What was scanned is sent: the sealed file and the judged commands, in the gate's own words ([`forward`]). Upstream
//!    checks each old value again when it changes the ref, so nothing that happened meanwhile is overwritten.
//! 4. Upstream's report comes back, made harmless.
//!
//! Before step 3 nothing has left; after it, what upstream says has happened is what the client is told.

mod forward;
mod question;
mod receive;
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
use crate::outlet::{self, Outlet};
use crate::pkt::{Broken, Packet, Packets};
use crate::quarantine::Room;
use crate::report::Report;
use crate::table::{Repo, Table};
use receive::Received;
use verdict::Refusal;

/// Push options of one push, and their length.
const MAX_OPTIONS: usize = 64;
const MAX_OPTION_BYTES: usize = 1024;

/// What all pushes share.
#[derive(Clone)]
pub struct Yard {
    room: Room,
    slots: Arc<Semaphore>,
}

impl Yard {
    /// For these bounds.
    pub fn new(limits: &bottle_contract::gate::GateLimits) -> Self {
        Self { room: Room::new(limits.quarantine_bytes), slots: Arc::new(Semaphore::new(limits.pushes)) }
    }
}

/// What one push is about.
pub struct Push {
    /// Where it goes.
    pub repo: Arc<Repo>,
    /// The generation that judges it.
    pub table: Arc<Table>,
    /// What it shares with others.
    pub yard: Yard,
    /// Where its events go.
    pub events: Events,
    /// Its name in events.
    pub id: String,
}

/// The commands, what goes with them, and the rest of the request: the pack.
struct Asked {
    request: Request,
    options: Vec<Vec<u8>>,
    packets: Packets,
}

impl Push {
    /// Answers a push, at once and then bit by bit.
    pub fn answer(self, body: Body) -> Response<Body> {
        let (outlet, response) = outlet::answer("application/x-git-receive-pack-result");
        tokio::spawn(async move { self.run(body, outlet).await });
        response
    }

    async fn run(self, body: Body, outlet: Outlet) {
        let started = Instant::now();
        let mut event = Events::event(Level::Info, "push");
        event.request_id = Some(self.id.clone());
        event.generation = Some(self.table.generation);
        event.repo = Some(self.repo.name.clone());
        match self.read(body).await {
            // A client that only asks whether it may come in, before it sends much.
            Ok(None) => return,
            Err((refused, packets, side_band)) => {
                match side_band {
                    true => outlet.fail(&refused).await,
                    false => outlet.error(&refused).await,
                }
                refuse(&mut event, refused.reason, refused.to_string());
                self.drain(packets).await;
            }
            Ok(Some(asked)) => self.push(asked, &outlet, &mut event).await,
        }
        event.time = Events::event(Level::Info, "push").time;
        event.micros = Some(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.events.write(&event);
    }

    /// Reads the commands; none when there are none.
    async fn read(&self, body: Body) -> Result<Option<Asked>, (Refused, Packets, bool)> {
        let mut packets = Packets::new(body);
        let mut request = Request::default();
        match self.read_lines(&mut packets, &mut request).await {
            Err(refused) => Err((refused, packets, request.wanted.side_band)),
            Ok(None) => Ok(None),
            Ok(Some(options)) => Ok(Some(Asked { request, options, packets })),
        }
    }

    /// Reads what is left of a request, as a client that is still sending does not listen.
    async fn drain(&self, mut packets: Packets) {
        let idle = Duration::from_millis(self.table.limits.idle_ms);
        while let Ok(Ok(Some(_))) = timeout(idle, packets.raw()).await {}
    }

    /// Reads the commands and the push options; none when there are no commands.
    async fn read_lines(&self, packets: &mut Packets, request: &mut Request) -> Result<Option<Vec<Vec<u8>>>, Refused> {
        let idle = Duration::from_millis(self.table.limits.idle_ms);
        let malformed = |why: &str| Refused::new(Reason::MalformedRequest, format!("not a push: {why}")).place(Place::Body);
        let next = async |packets: &mut Packets| {
            let packet = timeout(idle, packets.next()).await.map_err(|_| malformed("it stands still"))?;
            packet.map_err(|broken| malformed(&broken.to_string()))
        };
        loop {
            match next(packets).await? {
                Some(Packet::Data(line)) => request.line(&line, self.table.limits.commands).map_err(|why| malformed(&why))?,
                Some(Packet::Flush) => break,
                Some(_) => return Err(malformed("a mark that is none of its parts")),
                None if request.commands.is_empty() => return Ok(None),
                None => return Err(malformed(&Broken::CutOff.to_string())),
            }
        }
        if request.commands.is_empty() {
            return Ok(None);
        }
        let mut options = Vec::new();
        if !request.wanted.options {
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

    async fn push(&self, asked: Asked, outlet: &Outlet, event: &mut Event) {
        let Asked { request, options, packets } = asked;
        let Request { commands, wanted, .. } = &request;
        // Words travel on a side band or not at all.
        let spoken = wanted.side_band.then_some(outlet);
        let say = async |words: String| {
            if let Some(outlet) = spoken {
                outlet.say(&words).await;
            }
        };
        let n = commands.len();
        say(format!("git-gate: {n} ref{} to change; the pack is checked as it arrives\n", if n == 1 { "" } else { "s" })).await;
        let Ok(_slot) = self.yard.slots.clone().acquire_owned().await else { return };
        let received = receive::receive(self, &request, packets, spoken).await;
        let descends = question::descent(self, commands, &received).await;
        let judged = verdict::judge(self, &request, &options, &received, &descends);
        self.describe(event, commands, &received);
        let refusal = match judged {
            Err(refusal) => refusal,
            Ok(told) => match forward::forward(self, &request, &options, &told, &received, event, spoken).await {
                Ok(report) => {
                    let done = report.is_done();
                    outlet.send(report.packets(commands, wanted)).await;
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
        for line in &refusal.words {
            say(format!("git-gate: {line}\n")).await;
        }
        outlet.send(refusal.report.packets(commands, wanted)).await;
        results(event, &refusal.report);
        event.rule = refusal.rule;
        refuse(event, refusal.reason, refusal.words.join("; "));
    }

    /// What the event says of a push, whatever becomes of it. A name that looks like a secret is withheld.
    fn describe(&self, event: &mut Event, commands: &[Command], received: &Received) {
        let null = gix_hash::ObjectId::null(gix_hash::Kind::Sha1);
        let shown = |name: &Bytes| match self.table.scanner.scan(name) {
            None => bottle_contract::Untrusted::new(name).to_string(),
            Some(_) => "(withheld)".to_owned(),
        };
        // One line of a log holds so many at most.
        let change = |command: &Command| RefChange {
            name: shown(&command.name),
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
