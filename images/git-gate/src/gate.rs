//! The gate's HTTP handler: routes each request to its repository and endpoint.

use std::sync::Arc;

use bottle_contract::host::Host;
use bottle_contract::names;
use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::reload::Reloadable;
use bottle_wire::{Admission, Body, Events, Handled, Handler, Peer, Refused, RequestContext};
use http::{HeaderValue, Request, Response, header};

use crate::advert::Service;
use crate::gate_policy::GatePolicy;
use crate::push::{Push, PushLimits};
use crate::service::{self, Endpoint, Rewritten};
use crate::{fetch, response};

/// Handles requests. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    policy: Arc<Reloadable<GatePolicy>>,
    push_limits: PushLimits,
    events: Events,
}

impl Gate {
    /// A gate that enforces the current `policy`.
    pub fn new(policy: Arc<Reloadable<GatePolicy>>, events: Events) -> Self {
        let push_limits = PushLimits::new(&policy.current().limits);
        Self { policy, push_limits, events }
    }

    async fn respond(&self, context: &RequestContext, request: Request<Body>) -> Result<Response<Body>, Refused> {
        let policy = self.policy.current();
        context.log.update(|entry| entry.generation = Some(policy.generation));
        let unknown = |name: &str| Refused::new(Reason::RepoNotListed, format!("there is no repository `{name}` here")).place(Place::Path);
        let rewritten = match service::rewritten(&context.path) {
            Some(Rewritten::Own(path)) => Some(path),
            Some(Rewritten::Neighbour { name, rest }) => {
                let repo = policy.repo(name).ok_or_else(|| unknown(name))?;
                return response::elsewhere(&repo.page, rest, context.query.as_deref()).ok_or_else(|| unknown(name));
            }
            None => None,
        };
        let path = rewritten.as_deref().unwrap_or(&context.path);
        let (name, endpoint) = service::endpoint(request.method().as_str(), path, context.query.as_deref())?;
        let repo = policy.repo(name).ok_or_else(|| unknown(name))?;
        context.log.update(|entry| entry.rule = Some(repo.name.clone()));
        let (parts, body) = request.into_parts();
        let version = service::version(parts.headers.get("git-protocol").map(HeaderValue::as_bytes));
        let mut encodings = parts.headers.get_all(header::CONTENT_ENCODING).iter();
        let gzip = match (encodings.next().map(HeaderValue::as_bytes), encodings.next()) {
            (None | Some(b"identity"), None) => false,
            (Some(b"gzip" | b"x-gzip"), None) if endpoint == Endpoint::Run(Service::UploadPack) => true,
            _ => {
                return Err(Refused::new(Reason::BodyNotScannable, "the gate does not support the request's encoding")
                    .place(Place::Header(header::CONTENT_ENCODING)));
            }
        };
        let (events, id) = (self.events.clone(), context.request_id.clone());
        match endpoint {
            Endpoint::Advertisement(service) => fetch::advertisement(repo, policy, service, version).await,
            Endpoint::Run(Service::UploadPack) => Ok(fetch::respond(repo, policy, version, gzip, body, events, id).await),
            Endpoint::Run(Service::ReceivePack) => {
                Ok(Push { repo, policy, limits: self.push_limits.clone(), events, request_id: id }.respond(body))
            }
        }
    }
}

impl Handler for Gate {
    async fn admit(&self, _: &Peer, _: &Host, _: u16) -> Result<Admission, Refused> {
        Err(Refused::new(Reason::OpaqueTunnel, "git-gate is no proxy"))
    }

    async fn handle(&self, context: RequestContext, request: Request<Body>) -> Result<Handled, Refused> {
        if !self.serves(&context.host) {
            return Err(Refused::new(Reason::HostNotListed, "git-gate is no proxy"));
        }
        let response = self.respond(&context, request).await.unwrap_or_else(|refused| {
            context.log.update(|entry| entry.message = Some(refused.to_string()));
            response::refusal(&refused)
        });
        Ok(response.into())
    }

    fn serves(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) => name == names::GIT_GATE.0 || name == "localhost",
            Host::Ip(address) => address.is_loopback(),
        }
    }
}
