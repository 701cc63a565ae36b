//! One request and its answer.

use std::sync::Arc;
use std::time::Duration;

use bottle_contract::Untrusted;
use bottle_contract::reason::Reason;
use bottle_policy::Refused;
use bottle_policy::target::{self, Channel, Named, Target};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::framing;
use crate::http::access_log::Notes;
use crate::http::body::{self, Body};
use crate::http::context::Context;
use crate::http::forwarding::{ask_for_websocket, clean, end_to_end};
use crate::http::handler::Forward;
use crate::http::headers::{HTTP_2, REASON};
use crate::http::record::Record;
use crate::http::refusal::refusal_response;
use crate::http::request::Asked;
use crate::http::request_body::{too_large, uplink};
use crate::http::response_body::{Downlink, too_slow};
use crate::http::tunnel;

/// Answers one request, whatever comes.
pub(crate) async fn answer<F: Forward>(context: Arc<Context<F>>, mut request: Request<Incoming>) -> Response<Downlink> {
    let serving = &context.shared.serving;
    let notes = Notes::default();
    let id = context.shared.ids.of(&context.channel, request.headers());
    let mut record = Record::new(serving.events.clone(), &id, notes.clone(), Some(context.slot.beat()));
    let idle = Duration::from_millis(serving.limits.idle_ms);

    let http_1 = request.version() < Version::HTTP_2;
    let upgrade = http_1 && request.headers().contains_key(header::UPGRADE);
    let agent = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, incoming) = request.into_parts();
    let malformed = framing::violation(&parts);
    let ends = upgrade || malformed.is_some();
    if incoming.is_end_stream() {
        notes.all_read();
    }

    let outcome = match malformed {
        Some(refused) => Err(refused),
        None => respond(&context, parts, incoming, &id, &notes, &mut record, idle).await,
    };
    let (mut response, websocket) = match outcome {
        Ok(Outcome::Page(response)) => (response, None),
        Ok(Outcome::Answer(response)) => (response, None),
        Ok(Outcome::WebSocket(response, stream)) => (response, Some(stream)),
        Err(refused) => {
            record.broke(&refused);
            (refusal_response(&refused, serving.piece, &id), None)
        }
    };
    record.status(response.status());
    if let (Some(stream), Some(agent)) = (websocket, agent) {
        tokio::spawn(tunnel::carry_on(agent, stream, notes.clone(), idle, record, context.slot.clone()));
        return response.map(|_| Downlink::new(body::empty(), notes, idle, None));
    }
    // Nobody reads what is left of a refused body, so the connection ends with the answer, and whoever keeps it must know.
    let left_over = response.headers().contains_key(&REASON) && !notes.read();
    if http_1 && (ends || left_over) {
        // Nor is what follows an upgrade that did not happen, or a broken head, read as a message.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| Downlink::new(body, notes, idle, Some(record)))
}

enum Outcome {
    Page(Response<Body>),
    Answer(Response<Body>),
    WebSocket(Response<Body>, Box<dyn tunnel::Duplex>),
}

async fn respond<F: Forward>(
    context: &Context<F>,
    parts: Parts,
    incoming: Incoming,
    id: &str,
    notes: &Notes,
    record: &mut Record,
    idle: Duration,
) -> Result<Outcome, Refused> {
    let limits = &context.shared.serving.limits;
    let method = parts.method.as_str();
    let named = target::named(&parts, &context.channel).inspect_err(|_| {
        // Refused before it was read in full: the event still says what it seemed to ask for.
        record.origin(&Untrusted::new(method).to_string(), seemed(&context.channel, &parts));
    })?;
    let target = match named {
        Named::Own(target) if context.shared.forward.serves(&target.host) => target,
        Named::Own(Target { host, path, .. }) => {
            let host = host.to_string();
            record.named(method, format!("http://{host}"), path.clone());
            let page = context.shared.forward.own_page(&host, &path);
            return page.map(Outcome::Page).ok_or_else(|| target::self_request(&host));
        }
        Named::Origin(target) => target,
    };
    record.named(method, target.origin(), target.path.clone());
    if parts.version == Version::HTTP_2 && parts.headers.len() > limits.headers {
        // HTTP/1 was counted as it came; HTTP/2 bounds only the sum of sizes.
        return Err(Refused::new(Reason::TooLarge, "the request has more header fields than this bottle allows").place("head"));
    }
    let websocket = target::websocket(&parts, incoming.is_end_stream())?;
    let length = incoming.size_hint().lower();
    if length > limits.body_bytes {
        return Err(too_large(limits.body_bytes));
    }
    if parts.headers.get_all(header::EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refused::new(Reason::MalformedRequest, "the only expectation known is 100-continue").place("header:expect"));
    }
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| websocket).cloned();
    let sibling = matches!(context.channel, Channel::Sibling);
    let http_2 = if sibling { parts.headers.contains_key(&HTTP_2) } else { parts.version == Version::HTTP_2 };
    let asked = Asked { target, request_id: id.to_owned(), websocket, http_2, notes: notes.clone() };
    let request = end_to_end(parts, &asked, sibling, uplink(incoming, limits.body_bytes, notes))?;

    let forwarded = tokio::select! {
        biased;
        forwarded = context.shared.forward.forward(asked, request) => forwarded,
        () = notes.stalled(idle) => Err(too_slow(idle)),
    };
    let mut response = forwarded?;
    let from_sibling = notes.is_siblings();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let not_asked =
            || Refused::new(Reason::UpstreamProtocol, "the origin switched to a protocol that was not asked for").place("upstream");
        let key = key.filter(|key| tunnel::agrees(&response, key.as_bytes())).ok_or_else(not_asked)?;
        drop(key);
        let patience = Duration::from_millis(limits.handshake_ms);
        let stream = tokio::time::timeout(patience, tunnel::carried(&mut response)).await.ok().flatten().ok_or_else(not_asked)?;
        clean(&mut response, from_sibling);
        ask_for_websocket(response.headers_mut());
        return Ok(Outcome::WebSocket(response, stream));
    }
    if response.status().is_informational() {
        return Err(Refused::new(Reason::UpstreamProtocol, "the origin's answer has no final status").place("upstream"));
    }
    clean(&mut response, from_sibling);
    if from_sibling && let Some(reason) = sibling_refused(&response) {
        record.broke(&Refused::new(reason, "refused by the next sidecar"));
    }
    Ok(Outcome::Answer(response))
}

/// The reason that a sibling gave, if it refused.
fn sibling_refused(response: &Response<Body>) -> Option<Reason> {
    let slug = response.headers().get(&REASON)?.to_str().ok()?;
    Reason::ALL.iter().copied().find(|reason| reason.slug() == slug)
}

/// The origin as far as it can be told, for the event of a request whose target was refused.
fn seemed(channel: &Channel, parts: &Parts) -> String {
    match channel {
        Channel::Intercepted { host, port, .. } => target::origin(true, host, *port),
        _ => match parts.uri.authority().map(|a| target::split_authority(a.as_str())) {
            Some(Ok((host, port))) => target::origin(false, &host, port.unwrap_or(80)),
            _ => "-".to_owned(),
        },
    }
}
