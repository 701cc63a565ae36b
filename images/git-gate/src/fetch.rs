//! Fetch, clone and ls-remote: each is relayed to upstream; nothing is cached.

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
use crate::escape::{LineEscaper, escape_for_terminal};
use crate::fetch_request::{self, FetchRequest};
use crate::gate_policy::{GatePolicy, Repo};
use crate::gunzip::gunzip;
use crate::pkt::{self, Packet, Packets};
use crate::report::band;
use crate::response::{self, ResponseWriter};
use crate::upstream::{refuse_error_packet, stream_failure};

/// Lines of an advertisement are sent in chunks of about this size.
const CHUNK_SIZE: usize = 32 << 10;

/// Upstream's advertisement for a service, filtered.
pub async fn advertisement(repo: Arc<Repo>, policy: Arc<GatePolicy>, service: Service, version: u8) -> Result<Response<Body>, Refused> {
    let idle = idle_timeout(&policy);
    let version = if service == Service::ReceivePack { 0 } else { version };
    let mut packets = timeout(idle, repo.upstream.advertisement(service, version)).await.map_err(|_| silent())??;
    let first = timeout(idle, packets.peek()).await.map_err(|_| silent())?.map_err(stream_failure)?;
    if let Some(Packet::Data(line)) = &first {
        refuse_error_packet(line, &repo.upstream)?;
    }
    let v2 = matches!(&first, Some(Packet::Data(line)) if pkt::trimmed(line) == b"version 2");
    let (writer, response) = response::streamed(&format!("application/x-{}-advertisement", service.name()));
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
                Ok(Ok(None)) => return writer.error(&stream_failure(pkt::Broken::CutOff)).await,
                Ok(Err(broken)) => return writer.error(&stream_failure(broken)).await,
                Err(_) => return writer.error(&silent()).await,
            };
            match packet {
                Packet::Data(line) if v2 => {
                    if let Some(line) = advert::capability_v2(&line) {
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
                    writer.send(out).await;
                    return;
                }
            }
            if out.len() >= CHUNK_SIZE && !writer.send(std::mem::take(&mut out)).await {
                return;
            }
        }
    });
    Ok(response)
}

fn idle_timeout(policy: &GatePolicy) -> std::time::Duration {
    std::time::Duration::from_millis(policy.limits.idle_ms)
}

fn silent() -> Refused {
    Refused::new(Reason::TooSlow, "upstream is silent").place(Place::Upstream)
}

/// Responds to one fetch request.
pub async fn respond(
    repo: Arc<Repo>,
    policy: Arc<GatePolicy>,
    version: u8,
    gzip: bool,
    request: Body,
    events: Events,
    id: String,
) -> Response<Body> {
    let (writer, response) = response::streamed("application/x-git-upload-pack-result");
    tokio::spawn(async move {
        let started = Instant::now();
        let mut event = Events::event(Level::Info, "fetch");
        event.request_id = Some(id);
        event.generation = Some(policy.generation);
        event.repo = Some(repo.name.clone());
        let mut received = 0;
        let outcome = match read(&policy, version, gzip, request).await {
            Err(refused) => Err(refused),
            Ok(request) => {
                event.sent = Some(request.bytes.len() as u64);
                event.objects = Some(request.wants).filter(|wants| *wants > 0);
                event.message = Some(if request.lists_refs { "refs listed".into() } else { format!("{} ids wanted", request.wants) });
                relay(&repo, &policy, version, request, &writer, &mut received).await
            }
        };
        event.objects = None;
        if let Err(refused) = outcome {
            writer.error(&refused).await;
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

/// Reads the client's request whole, scans it, and encodes it anew.
async fn read(policy: &GatePolicy, version: u8, gzip: bool, body: Body) -> Result<FetchRequest, Refused> {
    let max = policy.limits.fetch_request_bytes;
    let malformed = |why: &str| Refused::new(Reason::MalformedRequest, format!("not a fetch request: {why}")).place(Place::Body);
    let mut bytes = BytesMut::new();
    let mut raw = Packets::new(body);
    while let Some(chunk) =
        timeout(idle_timeout(policy), raw.raw()).await.map_err(|_| malformed("it stalled"))?.map_err(|b| malformed(&b.to_string()))?
    {
        if bytes.len() + chunk.len() > max {
            return Err(Refused::new(Reason::TooLarge, format!("the fetch request is longer than {max} bytes")).place(Place::Body));
        }
        bytes.extend_from_slice(&chunk);
    }
    if gzip {
        bytes = BytesMut::from(&gunzip(&bytes, max).map_err(malformed)?[..]);
    }
    let mut packets = Vec::new();
    while let Some(packet) = pkt::take(&mut bytes).map_err(|broken| malformed(&broken.to_string()))? {
        packets.push(packet);
    }
    if !bytes.is_empty() {
        return Err(malformed("it ends in the middle of a packet"));
    }
    let request = fetch_request::read(&packets, version).map_err(|why| malformed(&why))?;
    match policy.scanner.scan(&request.bytes) {
        None => Ok(request),
        Some(found) => {
            let message = "the fetch request contains something that looks like a credential";
            Err(Refused::new(Reason::SecretDetected, message).rule(found.rule).place(Place::BodyAt("body".into(), found.offset)))
        }
    }
}

/// Relays upstream's response packet by packet, with its messages escaped.
async fn relay(
    repo: &Repo,
    policy: &GatePolicy,
    version: u8,
    request: FetchRequest,
    writer: &ResponseWriter,
    received: &mut u64,
) -> Result<(), Refused> {
    let idle = idle_timeout(policy);
    let redactor = repo.upstream.redactor();
    let mut escaper = LineEscaper::new(redactor.clone());
    let started = Instant::now();
    let response = repo.upstream.run(Service::UploadPack, version, bottle_wire::body::full(request.bytes));
    let mut packets = timeout(idle, response).await.map_err(|_| silent())??;
    let next = async |packets: &mut Packets| timeout(idle, packets.next()).await.map_err(|_| silent())?.map_err(stream_failure);
    loop {
        if version < 2 && timeout(idle, packets.is_at_pack()).await.map_err(|_| silent())?.map_err(stream_failure)? {
            // Without side bands the pack stands alone, to the end.
            while let Some(chunk) = timeout(idle, packets.raw()).await.map_err(|_| silent())?.map_err(stream_failure)? {
                *received += chunk.len() as u64;
                if !writer.send(chunk).await {
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
                        let mut text = escaper.push(&line[1..], started.elapsed());
                        if *number == 3 {
                            text += &escaper.finish();
                        }
                        text.as_bytes().chunks(pkt::MAX_PACKET_BYTES - 5).for_each(|chunk| band(&mut out, *number, chunk));
                    }
                    _ if line.starts_with(b"ERR ") => {
                        pkt::line(&mut out, format!("ERR {}", escape_for_terminal(pkt::trimmed(&line[4..]), &redactor)).as_bytes());
                    }
                    _ if std::str::from_utf8(pkt::trimmed(&line)).is_ok_and(|line| !line.chars().any(is_hostile)) => {
                        pkt::line(&mut out, &line);
                    }
                    // A ref with such a name is hidden. No other packet is unprintable.
                    _ if request.lists_refs || version < 2 => {}
                    _ => {
                        return Err(
                            Refused::new(Reason::UpstreamProtocol, "upstream's response is not a fetch response").place(Place::Upstream)
                        );
                    }
                }
            }
            packet => pkt::put(&mut out, &packet),
        }
        if !writer.send(out).await {
            return Ok(());
        }
    }
    let rest = escaper.finish();
    if !rest.is_empty() {
        writer.progress(&rest).await;
    }
    Ok(())
}
