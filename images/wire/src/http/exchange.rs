//! One request and its response.

use std::sync::Arc;
use std::time::Duration;

use bottle_contract::Untrusted;
use bottle_contract::pipelock::Limits;
use bottle_contract::reason::Reason;
use bottle_policy::target::{self, Named, Peer, Target};
use bottle_policy::{Place, Refused, overrides, own};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::framing;
use crate::http::access_log::AccessLog;
use crate::http::body::{self, Body};
use crate::http::context::Context;
use crate::http::forwarding::{ask_for_websocket, clean, end_to_end};
use crate::http::handler::{Handled, Handler};
use crate::http::headers::{AnsweredBy, HTTP_2, REASON};
use crate::http::record::Record;
use crate::http::refusal::{reason_phrase, refusal_response};
use crate::http::request::RequestContext;
use crate::http::request_body::{Discarding, request_body, too_large};
use crate::http::response_body::{ResponseBody, too_slow};
use crate::http::{trailers, tunnel};

/// Answers one request, whatever comes.
pub(crate) async fn answer<H: Handler>(context: Arc<Context<H>>, mut request: Request<Incoming>) -> Response<ResponseBody> {
    let serving = &context.shared.serving;
    let log = AccessLog::default();
    let id = context.shared.ids.of(&context.peer, request.headers());
    let mut record = Record::new(serving.events.clone(), &id, log.clone(), Some(context.slot.begin()));
    let idle = Duration::from_millis(serving.limits.idle_ms);

    let http_1 = request.version() < Version::HTTP_2;
    let offers = request.headers().get_all(header::UPGRADE).iter().map(HeaderValue::as_bytes);
    let upgrade = http_1 && target::offers_websocket(offers);
    let agent = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, incoming) = request.into_parts();
    let incoming = Discarding::new(incoming, parts.version);
    let malformed = framing::violation(&parts, &serving.limits);
    let last = upgrade || malformed.is_some();
    if incoming.is_end_stream() {
        log.mark_request_read();
    }

    context.answer_connect();
    let handled = match (context.peer.refusal(), malformed) {
        (Some(refused), _) => {
            // Of a host that may not be reached, nothing is repeated but its name: the rest was not scanned.
            record.origin(if last { "-" } else { parts.method.as_str() }, apparent_origin(&context.peer, &parts));
            Err(refused.clone())
        }
        (None, Some(refused)) => Err(refused),
        (None, None) => respond(&context, parts, incoming, &id, &log, &mut record, idle).await,
    };
    let mut response = match handled {
        Ok(Handled::Response(response, _)) => response,
        Ok(Handled::Upgraded(response, stream)) => {
            record.status(response.status());
            if let Some(agent) = agent {
                tokio::spawn(tunnel::carry_on(agent, stream, log.clone(), idle, record, context.slot.clone()));
            }
            return response.map(|()| ResponseBody::new(body::empty(), log, idle, None));
        }
        Err(refused) => {
            record.broke(&refused);
            refusal_response(&refused, serving.component, &id)
        }
    };
    record.status(response.status());
    // Nobody reads the rest of a refused body, so the connection ends with the response, and whoever keeps it must know.
    let left_over = response.headers().contains_key(&REASON) && !log.is_request_read();
    if http_1 && (last || left_over) {
        // Nor is what follows an upgrade that did not happen, or a broken head, read as a message.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let into_sibling = context.peer.is_sibling() && response.body().size_hint().exact().is_none();
    if into_sibling {
        trailers::announce(response.headers_mut());
    }
    response.map(|body| {
        let body = ResponseBody::new(body, log, idle, Some(record));
        if into_sibling { body.into_sibling() } else { body }
    })
}

async fn respond<H: Handler>(
    context: &Context<H>,
    parts: Parts,
    incoming: Discarding,
    id: &str,
    log: &AccessLog,
    record: &mut Record,
    idle: Duration,
) -> Result<Handled, Refused> {
    let limits = &context.shared.serving.limits;
    let handler = &context.shared.handler;
    let method = parts.method.as_str();
    let named = target::named(&parts, &context.peer).inspect_err(|_| {
        // Refused before it was read in full: the event still says what it seems to ask for.
        record.origin(&Untrusted::new(method).to_string(), apparent_origin(&context.peer, &parts));
    })?;
    let target = match named {
        Named::Own(target) if handler.serves(&target.host) => target,
        Named::Own(Target { host, path, .. }) => {
            let host = host.to_string();
            record.named(method, format!("http://{host}"), path.clone());
            return handler.own_page(&host, &path).map(Handled::from).ok_or_else(|| own::refuse(&host));
        }
        Named::Origin(target) => target,
    };
    record.named(method, target.origin(), target.path.clone());
    check_bounds(&parts, &incoming, limits)?;
    if !context.peer.is_sibling() {
        overrides::refuse(&parts.headers)?;
    }
    let websocket = target::websocket(&parts, incoming.is_end_stream())?;
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| websocket).cloned();
    let agent_speaks_http_2 =
        if context.peer.is_sibling() { parts.headers.contains_key(&HTTP_2) } else { parts.version == Version::HTTP_2 };
    let request_context = RequestContext {
        target,
        peer: context.peer.clone(),
        request_id: id.to_owned(),
        websocket,
        http_2: agent_speaks_http_2,
        log: log.clone(),
    };
    let request = end_to_end(parts, &request_context, request_body(incoming, limits.body_bytes, context.peer.is_sibling(), log))?;

    let handled = tokio::select! {
        biased;
        handled = handler.handle(request_context, request) => handled?,
        () = log.stalled(idle) => return Err(too_slow(idle)),
    };
    match handled {
        Handled::Response(response, by) => finish(response, by, record),
        Handled::Upgraded(mut response, stream) => {
            key.filter(|key| tunnel::agrees(&response, key.as_bytes())).ok_or_else(unrequested_upgrade)?;
            clean(&mut response, AnsweredBy::Origin);
            ask_for_websocket(response.headers_mut());
            Ok(Handled::Upgraded(response, stream))
        }
    }
}

/// Bounds that are known from a head alone.
fn check_bounds(parts: &Parts, incoming: &Discarding, limits: &Limits) -> Result<(), Refused> {
    // HTTP/1 was counted as it came.
    if parts.version == Version::HTTP_2 {
        framing::check_head(parts, limits)?;
    }
    if incoming.size_hint().lower() > limits.body_bytes {
        return Err(too_large(limits.body_bytes));
    }
    if parts.headers.get_all(header::EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(
            Refused::new(Reason::MalformedRequest, "the only expectation known is 100-continue").place(Place::Header(header::EXPECT))
        );
    }
    Ok(())
}

fn finish(mut response: Response<Body>, by: AnsweredBy, record: &mut Record) -> Result<Handled, Refused> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(unrequested_upgrade());
    }
    if response.status().is_informational() {
        return Err(Refused::new(Reason::UpstreamProtocol, "the origin's answer has no final status").place(Place::Upstream));
    }
    clean(&mut response, by);
    if by == AnsweredBy::Sibling
        && let Some(reason) = refusal_of_sibling(&response)
    {
        record.broke(&Refused::new(reason, "refused by the next sidecar"));
        response.extensions_mut().insert(reason_phrase(reason));
    }
    Ok(Handled::Response(response, by))
}

fn unrequested_upgrade() -> Refused {
    Refused::new(Reason::UpstreamProtocol, "the origin switched to a protocol that was not asked for").place(Place::Upstream)
}

/// The reason that a sibling gave, if it refused.
fn refusal_of_sibling(response: &Response<Body>) -> Option<Reason> {
    let slug = response.headers().get(&REASON)?.to_str().ok()?;
    Reason::ALL.iter().copied().find(|reason| reason.slug() == slug)
}

/// The origin as far as it is known, for the event of a request whose target was refused.
fn apparent_origin(peer: &Peer, parts: &Parts) -> String {
    match peer {
        Peer::Intercepted { https, host, port, .. } => target::origin(*https, host, *port),
        Peer::Agent | Peer::Sibling => match parts.uri.authority().map(|a| target::split_authority(a.as_str())) {
            Some(Ok((host, port))) => target::origin(false, &host, port.unwrap_or(80)),
            _ => "-".to_owned(),
        },
    }
}
