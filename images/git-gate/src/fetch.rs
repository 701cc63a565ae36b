//! Fetch, clone and ls-remote: upstream asked anew each time, nothing kept, nothing stale.

use std::sync::Arc;
use std::time::Instant;

use bottle_contract::event::Level;
use bottle_contract::reason::Reason;
use bottle_contract::untrusted::is_hostile;
use bottle_policy::Place;
use bottle_wire::{Body, Events, Refused};
use bytes::BytesMut;
use http::Response;
use tokio::time::timeout;

use crate::advert::{self, Lines, Service};
use crate::ask;
use crate::gunzip::gunzip;
use crate::harmless::{Harmless, one_line};
use crate::outlet::{self, Outlet};
use crate::pkt::{self, Packet, Packets};
use crate::report::band;
use crate::table::{Repo, Table};
use crate::upstream::{broke_here, refuse_error};

/// Lines of an advertisement go on in pieces of about this size.
const CHUNK_SIZE: usize = 32 << 10;

/// What upstream has, for one service, as the gate offers it.
pub async fn advertisement(repo: Arc<Repo>, table: Arc<Table>, service: Service, version: u8) -> Result<Response<Body>, Refused> {
    let idle = repo_idle(&table);
    let version = if service == Service::ReceivePack { 0 } else { version };
    let mut packets = timeout(idle, repo.upstream.advertisement(service, version)).await.map_err(|_| silent())??;
    let first = timeout(idle, packets.peek()).await.map_err(|_| silent())?.map_err(broke_here)?;
    if let Some(Packet::Data(line)) = &first {
        refuse_error(line, &repo.upstream)?;
    }
    let v2 = matches!(&first, Some(Packet::Data(line)) if pkt::trimmed(line) == b"version 2");
    let (outlet, response) = outlet::answer(&format!("application/x-{}-advertisement", service.name()));
    tokio::spawn(async move {
        let mut out = Vec::new();
        if !v2 {
            pkt::line(&mut out, format!("# service={}\n", service.name()).as_bytes());
            pkt::flush(&mut out);
        }
        let mut lines = Lines::new(service, repo.policy.options);
        loop {
            let packet = match timeout(idle, packets.next()).await {
                Ok(Ok(Some(packet))) => packet,
                Ok(Ok(None)) => return outlet.error(&broke_here(pkt::Broken::CutOff)).await,
                Ok(Err(broken)) => return outlet.error(&broke_here(broken)).await,
                Err(_) => return outlet.error(&silent()).await,
            };
            match packet {
                Packet::Data(line) if v2 => {
                    if let Some(line) = advert::ability(&line) {
                        pkt::line(&mut out, line.as_bytes());
                    }
                }
                Packet::Data(line) => {
                    if let Some(line) = lines.line(&line) {
                        pkt::line(&mut out, &line);
                    }
                }
                _ => {
                    pkt::flush(&mut out);
                    outlet.send(out).await;
                    return;
                }
            }
            if out.len() >= CHUNK_SIZE && !outlet.send(std::mem::take(&mut out)).await {
                return;
            }
        }
    });
    Ok(response)
}

fn repo_idle(table: &Table) -> std::time::Duration {
    std::time::Duration::from_millis(table.limits.idle_ms)
}

fn silent() -> Refused {
    Refused::new(Reason::TooSlow, "upstream says nothing").place(Place::Upstream)
}

/// Answers one request to fetch.
pub async fn answer(
    repo: Arc<Repo>,
    table: Arc<Table>,
    version: u8,
    gzip: bool,
    request: Body,
    events: Events,
    id: String,
) -> Response<Body> {
    let (outlet, response) = outlet::answer("application/x-git-upload-pack-result");
    tokio::spawn(async move {
        let started = Instant::now();
        let mut event = Events::event(Level::Info, "fetch");
        event.request_id = Some(id);
        event.generation = Some(table.generation);
        event.repo = Some(repo.name.clone());
        let mut received = 0;
        let outcome = match ask(&table, version, gzip, request).await {
            Err(refused) => Err(refused),
            Ok(ask) => {
                event.sent = Some(ask.bytes.len() as u64);
                event.objects = Some(ask.wants).filter(|wants| *wants > 0);
                event.message = Some(if ask.lists_refs { "refs listed".into() } else { format!("{} ids wanted", ask.wants) });
                relay(&repo, &table, version, ask, &outlet, &mut received).await
            }
        };
        event.objects = None;
        if let Err(refused) = outcome {
            outlet.error(&refused).await;
            event.level = Level::Warn;
            event.reason = Some(refused.reason);
            event.rule = refused.rule.clone();
            event.message = Some(refused.to_string());
        }
        event.received = Some(received);
        event.micros = Some(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        events.write(&event);
    });
    response
}

/// The client's request, read whole, scanned, and written anew.
async fn ask(table: &Table, version: u8, gzip: bool, request: Body) -> Result<ask::Ask, Refused> {
    let most = table.limits.fetch_request_bytes;
    let malformed = |why: &str| Refused::new(Reason::MalformedRequest, format!("not a request to fetch: {why}")).place(Place::Body);
    let mut bytes = BytesMut::new();
    let mut raw = Packets::new(request);
    while let Some(piece) =
        timeout(repo_idle(table), raw.raw()).await.map_err(|_| malformed("it stands still"))?.map_err(|b| malformed(&b.to_string()))?
    {
        if bytes.len() + piece.len() > most {
            return Err(Refused::new(Reason::TooLarge, format!("the request to fetch is longer than {most} bytes")).place(Place::Body));
        }
        bytes.extend_from_slice(&piece);
    }
    if gzip {
        bytes = BytesMut::from(&gunzip(&bytes, most).map_err(malformed)?[..]);
    }
    let mut packets = Vec::new();
    while let Some(packet) = pkt::take(&mut bytes).map_err(|broken| malformed(&broken.to_string()))? {
        packets.push(packet);
    }
    if !bytes.is_empty() {
        return Err(malformed("it ends in the middle of a packet"));
    }
    let ask = ask::read(&packets, version).map_err(|why| malformed(&why))?;
    match table.scanner.scan(&ask.bytes) {
        None => Ok(ask),
        Some(found) => {
            let message = "the request to fetch holds something that looks like a credential";
            Err(Refused::new(Reason::SecretDetected, message).rule(found.rule).place(Place::BodyAt("body".into(), found.offset)))
        }
    }
}

/// Upstream's answer, packet by packet, with all that is words made harmless.
async fn relay(repo: &Repo, table: &Table, version: u8, ask: ask::Ask, outlet: &Outlet, received: &mut u64) -> Result<(), Refused> {
    let idle = repo_idle(table);
    let hidden = repo.upstream.hidden();
    let mut harmless = Harmless::new(hidden.clone());
    let started = Instant::now();
    let answer = repo.upstream.answer(Service::UploadPack, version, bottle_wire::body::full(ask.bytes));
    let mut packets = timeout(idle, answer).await.map_err(|_| silent())??;
    let next = async |packets: &mut Packets| timeout(idle, packets.next()).await.map_err(|_| silent())?.map_err(broke_here);
    loop {
        if version < 2 && timeout(idle, packets.is_at_pack()).await.map_err(|_| silent())?.map_err(broke_here)? {
            // Without side bands the pack stands alone, to the end.
            while let Some(piece) = timeout(idle, packets.raw()).await.map_err(|_| silent())?.map_err(broke_here)? {
                *received += piece.len() as u64;
                if !outlet.send(piece).await {
                    return Ok(());
                }
            }
            return Ok(());
        }
        let Some(packet) = next(&mut packets).await? else { break };
        let mut out = Vec::new();
        match packet {
            Packet::Data(line) => {
                *received += line.len() as u64;
                match line.first() {
                    Some(1) => pkt::line(&mut out, &line),
                    Some(number @ (2 | 3)) => {
                        let mut words = harmless.push(&line[1..], started.elapsed());
                        if *number == 3 {
                            words += &harmless.finish();
                        }
                        words.as_bytes().chunks(pkt::MAX_PACKET_BYTES - 5).for_each(|piece| band(&mut out, *number, piece));
                    }
                    _ if line.starts_with(b"ERR ") => {
                        pkt::line(&mut out, format!("ERR {}", one_line(pkt::trimmed(&line[4..]), &hidden)).as_bytes());
                    }
                    _ if std::str::from_utf8(pkt::trimmed(&line)).is_ok_and(|line| !line.chars().any(is_hostile)) => {
                        pkt::line(&mut out, &line);
                    }
                    // A ref with such a name is not shown; nothing else says such a thing.
                    _ if ask.lists_refs || version < 2 => {}
                    _ => {
                        return Err(
                            Refused::new(Reason::UpstreamProtocol, "upstream's answer is no answer to a fetch").place(Place::Upstream)
                        );
                    }
                }
            }
            packet => pkt::put(&mut out, &packet),
        }
        if !outlet.send(out).await {
            return Ok(());
        }
    }
    let rest = harmless.finish();
    if !rest.is_empty() {
        outlet.say(&rest).await;
    }
    Ok(())
}
