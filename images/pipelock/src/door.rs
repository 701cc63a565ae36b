//! The door: a request's way from a verdict to a response.
//!
//! Order matters: the allowlist is asked before anything is looked up, and the head is scanned, the host with it,
//! before a name could carry a secret to a resolver.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bottle_contract::Reason;
use bottle_contract::event::Level;
use bottle_contract::host::Host;
use bottle_scan::{Scanner, Suspicion};
use bottle_wire::headers::{GENERATION, INJECTED, REQUEST_ID, remove_where};
use bottle_wire::reload::{Generation, Reloadable};
use bottle_wire::tunnel::{Duplex, agrees};
use bottle_wire::{Admission, Body, Events, Handled, Handler, Peer, Refused, RequestContext, RevocableStream};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;

use crate::dlp::body_scan::Inspector;
use crate::dlp::fragments::{self, Trails};
use crate::dlp::response::{self, Watched};
use crate::dlp::upload::{Budget, Upload, WithVerdict};
use crate::dlp::websocket::Scanned;
use crate::dlp::websocket_frames::Frames;
use crate::origin::Origins;
use crate::origin::connector::plain;
use crate::origin::dial::Dialer;
use crate::read_config;
use bottle_policy::pipelock_policy::PipelockPolicy;
use bottle_policy::{Place, head, push};

/// What is in force: a policy and the connections that were made under it.
struct InForce {
    policy: Arc<PipelockPolicy>,
    origins: Origins,
}

impl InForce {
    fn new(policy: PipelockPolicy, dialer: &Dialer) -> anyhow::Result<Self> {
        let policy = Arc::new(policy);
        Ok(Self { origins: Origins::new(&policy, dialer)?, policy })
    }
}

impl Generation for InForce {
    fn generation(&self) -> u64 {
        self.policy.generation
    }
}

/// Decides and forwards. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    shared: Arc<Shared>,
}

struct Shared {
    in_force: Reloadable<InForce>,
    dialer: Dialer,
    budget: Budget,
    trails: Trails,
    events: Events,
}

impl Door {
    /// A door under `policy`.
    pub fn new(policy: PipelockPolicy, dialer: Dialer, events: Events) -> anyhow::Result<Self> {
        let in_force = Reloadable::new(InForce::new(policy, &dialer)?);
        let (budget, trails) = (Budget::default(), Trails::default());
        Ok(Self { shared: Arc::new(Shared { in_force, dialer, budget, trails, events }) })
    }

    /// Reads the policy again. A file that is not a whole and newer policy changes nothing; requests under way end under
    /// the policy that judged them.
    pub fn reload(&self, directory: &Path) {
        let read_again = |current: &InForce| {
            let next = read_config::read(directory, Some(&current.policy))?;
            ensure!(next.bottle == current.policy.bottle, "the file is of another bottle");
            InForce::new(next, &self.shared.dialer)
        };
        self.shared.in_force.reload(read_again, &self.shared.events);
    }

    /// Ends a stream once the policy in force no longer `allows` it.
    fn revocable(&self, stream: Box<dyn Duplex>, allows: impl Fn(&PipelockPolicy) -> bool + Send + Sync + 'static) -> Box<dyn Duplex> {
        let shared = self.shared.clone();
        let revoked = async move { shared.in_force.until_revoked(|in_force| allows(&in_force.policy)).await };
        Box::new(RevocableStream::new(stream, Box::pin(revoked)))
    }

    async fn exchange(&self, context: RequestContext, request: Request<Body>) -> Result<Handled, Refused> {
        let in_force = self.shared.in_force.of(judged_by(request.headers()));
        let InForce { policy, origins } = &*in_force;
        context.log.update(|entry| entry.generation = Some(policy.generation));
        let rule = policy.listed(&context.host, context.port)?;
        context.log.update(|entry| entry.rule = Some(rule));
        let (parts, body) = request.into_parts();
        if !context.peer.is_sibling() {
            push::refuse(parts.method.as_str(), parts.uri.path(), parts.uri.query().unwrap_or_default(), &parts.headers)?;
        }
        let mut headers = parts.headers;
        let injected = take_injected(&mut headers)?;
        remove_where(&mut headers, |name| [&GENERATION, &REQUEST_ID].contains(&name));
        head::scan(&policy.scanner, &parts.method, &parts.uri, &headers, injected.as_ref())?;

        let encodings = headers.get_all(header::CONTENT_ENCODING);
        // Of two types the receiver may believe either.
        let kinds: Vec<&str> = headers.get_all(header::CONTENT_TYPE).iter().filter_map(|kind| kind.to_str().ok()).collect();
        let kind = (!kinds.is_empty()).then(|| kinds.join(","));
        let inspector = Inspector::new(&policy.scanner, kind.as_deref(), encodings.iter().map(HeaderValue::as_bytes))?;
        let memory_timeout = Duration::from_millis(policy.limits.head_ms);
        let upload = Upload::start(body, inspector, &self.shared.budget, memory_timeout).await?;
        let values = Scanner::said(kind.as_deref(), upload.small());
        self.shared.trails.follow(&policy.scanner, &fragments::fragments(&parts.uri, &headers, injected.as_ref(), &values))?;
        let verdict = upload.verdict();
        if policy.reads_answers {
            response::ask_for_readable(&mut headers);
        }

        let mut outgoing = Request::new(upload);
        *outgoing.method_mut() = parts.method;
        *outgoing.uri_mut() = parts.uri;
        *outgoing.version_mut() = Version::HTTP_11;
        let response = match context.websocket {
            false => {
                *outgoing.headers_mut() = headers;
                let answer = origins.send(&context, outgoing).await;
                answer.map_err(|broken| verdict.as_ref().and_then(|v| v.get().cloned()).unwrap_or(broken))?
            }
            true => {
                let key = headers.get(header::SEC_WEBSOCKET_KEY).cloned();
                prepare_websocket(&mut headers);
                *outgoing.headers_mut() = headers;
                let response = origins.send(&context, outgoing).await?;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    return self.websocket(&context, policy, key, response).await;
                }
                response
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Refused::new(Reason::UpstreamProtocol, "the origin switched protocols unasked").place(Place::Upstream));
        }
        let along = policy.reads_answers.then(|| response::reader(response.headers())).flatten();
        let response = response.map(|answer| match verdict {
            None => answer,
            Some(verdict) => WithVerdict { answer, verdict }.boxed(),
        });
        let response = match along {
            None => response,
            Some(along) => {
                let record = self.suspicion_of(&context, policy.generation);
                response.map(|answer| Watched::new(answer, along, record).boxed())
            }
        };
        Ok(response.into())
    }

    async fn websocket(
        &self,
        context: &RequestContext,
        policy: &PipelockPolicy,
        key: Option<HeaderValue>,
        response: Response<Body>,
    ) -> Result<Handled, Refused> {
        if !key.is_some_and(|key| agrees(&response, key.as_bytes())) {
            let message = "the origin's answer to the WebSocket handshake does not agree to it";
            return Err(Refused::new(Reason::UpstreamProtocol, message).place(Place::Upstream));
        }
        let mut response = response.map(drop);
        let upgraded = hyper::upgrade::on(&mut response)
            .await
            .map_err(|error| Refused::new(Reason::UpstreamUnreachable, format!("the origin broke off: {error}")).place(Place::Upstream))?;
        let frames = Frames::new(policy.scanner.clone(), policy.limits.body_bytes, self.shared.trails.clone());
        let scanned = Scanned::new(TokioIo::new(upgraded), frames, self.record_of(context, policy.generation));
        let (host, port, way) = (context.host.clone(), context.port, policy.way(&context.host, context.port));
        let allows = move |policy: &PipelockPolicy| policy.admit(&host, port).is_ok() && policy.way(&host, port) == way;
        Ok(Handled::Upgraded(response, self.revocable(Box::new(scanned), allows)))
    }

    /// Writes the event of an answer that may try to instruct the agent.
    fn suspicion_of(&self, context: &RequestContext, generation: u64) -> impl FnOnce(Suspicion) + Send + Sync + 'static {
        let (events, id, origin) = (self.shared.events.clone(), context.request_id.clone(), context.origin());
        move |found| {
            let mut event = Events::event(Level::Warn, "answer_suspicious");
            event.request_id = Some(id);
            event.generation = Some(generation);
            event.origin = Some(origin);
            event.rule = Some(found.signs.join(","));
            event.place = Some(format!("answer@{}", found.offset));
            event.message = Some("the answer holds text that may try to instruct the agent; it was passed on".to_owned());
            events.write(&event);
        }
    }

    /// Writes the event of a verdict that comes after the answer was given.
    fn record_of(&self, context: &RequestContext, generation: u64) -> impl FnOnce(&Refused) + Send + 'static {
        let (events, id, origin, log) = (self.shared.events.clone(), context.request_id.clone(), context.origin(), context.log.clone());
        move |refused| {
            let mut event = Events::event(Level::Warn, "refused");
            event.request_id = Some(id);
            event.generation = Some(generation);
            event.origin = Some(origin);
            event.reason = Some(refused.reason);
            event.rule = refused.rule.clone();
            event.place = refused.place.as_ref().map(ToString::to_string);
            event.dialled = log.entry().dialled;
            event.message = Some("the WebSocket was closed".to_owned());
            events.write(&event);
        }
    }
}

impl Handler for Door {
    async fn admit(&self, peer: &Peer, host: &Host, port: u16) -> Result<Admission, Refused> {
        let policy = self.shared.in_force.current().policy.clone();
        if peer.is_sibling() && policy.is_tunnel(host, port) {
            let (stream, _) = plain(&policy, &self.shared.dialer, host, port).await?;
            let (host, way) = (host.clone(), policy.way(host, port));
            let allows = move |policy: &PipelockPolicy| policy.is_tunnel(&host, port) && policy.way(&host, port) == way;
            return Ok(Admission::Tunnel(self.revocable(Box::new(stream), allows)));
        }
        policy.listed(host, port)?;
        Ok(Admission::Intercept)
    }

    async fn handle(&self, context: RequestContext, request: Request<Body>) -> Result<Handled, Refused> {
        self.exchange(context, request).await
    }
}

/// The generation by which the sibling has judged the request. An agent's own header of this name was taken out before.
fn judged_by(headers: &HeaderMap) -> Option<u64> {
    headers.get(&GENERATION)?.to_str().ok()?.parse().ok()
}

/// The header that the sibling put a credential in. It must be there exactly once: a second value is the agent's.
fn take_injected(headers: &mut HeaderMap) -> Result<Option<HeaderName>, Refused> {
    let Some(value) = headers.get(&INJECTED).cloned() else { return Ok(None) };
    remove_where(headers, |name| *name == INJECTED);
    let name = HeaderName::from_bytes(value.as_bytes())
        .map_err(|_| Refused::new(Reason::MalformedRequest, format!("{INJECTED} names no header")).place(Place::Head))?;
    let values = headers.get_all(&name).iter().count();
    if values > 1 {
        return Err(Refused::new(Reason::MalformedRequest, format!("{name} was sent beside the injected one")).place(Place::Head));
    }
    Ok((values == 1).then_some(name))
}

/// No extension may be agreed on: what is compressed in a frame cannot be scanned.
fn prepare_websocket(headers: &mut HeaderMap) {
    remove_where(headers, |name| *name == header::SEC_WEBSOCKET_EXTENSIONS);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}
