//! The gate as a server: each request to its repository and service.

use std::sync::Arc;

use bottle_contract::host::Host;
use bottle_contract::names;
use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::reload::Reloadable;
use bottle_wire::{Admission, Body, Events, Handled, Handler, Peer, Refused, RequestContext};
use http::{HeaderValue, Request, Response, header};

use crate::advert::Service;
use crate::push::{Push, Yard};
use crate::service::{self, Rewritten, Wish};
use crate::table::Table;
use crate::{fetch, outlet};

/// Decides and answers. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    live: Arc<Reloadable<Table>>,
    yard: Yard,
    events: Events,
}

impl Gate {
    /// A gate under what `live` says.
    pub fn new(live: Arc<Reloadable<Table>>, events: Events) -> Self {
        let yard = Yard::new(&live.current().limits);
        Self { live, yard, events }
    }

    async fn answer(&self, asked: &RequestContext, request: Request<Body>) -> Result<Response<Body>, Refused> {
        let table = self.live.current();
        asked.log.update(|entry| entry.generation = Some(table.generation));
        let unknown = |name: &str| Refused::new(Reason::RepoNotListed, format!("there is no repository `{name}` here")).place(Place::Path);
        let rewritten = match service::rewritten(&asked.path) {
            Some(Rewritten::Own(path)) => Some(path),
            Some(Rewritten::Neighbour { name, rest }) => {
                let repo = table.repo(name).ok_or_else(|| unknown(name))?;
                return outlet::elsewhere(&repo.page, rest, asked.query.as_deref()).ok_or_else(|| unknown(name));
            }
            None => None,
        };
        let path = rewritten.as_deref().unwrap_or(&asked.path);
        let (name, wish) = service::wish(request.method().as_str(), path, asked.query.as_deref())?;
        let repo = table.repo(name).ok_or_else(|| unknown(name))?;
        asked.log.update(|entry| entry.rule = Some(repo.name.clone()));
        let (parts, body) = request.into_parts();
        let version = service::version(parts.headers.get("git-protocol").map(HeaderValue::as_bytes));
        let mut encodings = parts.headers.get_all(header::CONTENT_ENCODING).iter();
        let gzip = match (encodings.next().map(HeaderValue::as_bytes), encodings.next()) {
            (None | Some(b"identity"), None) => false,
            (Some(b"gzip" | b"x-gzip"), None) if wish == Wish::Answer(Service::UploadPack) => true,
            _ => {
                return Err(Refused::new(Reason::BodyNotScannable, "the request's encoding is not known here")
                    .place(Place::Header(header::CONTENT_ENCODING)));
            }
        };
        let (events, id) = (self.events.clone(), asked.request_id.clone());
        match wish {
            Wish::Advertisement(service) => fetch::advertisement(repo, table, service, version).await,
            Wish::Answer(Service::UploadPack) => Ok(fetch::answer(repo, table, version, gzip, body, events, id).await),
            Wish::Answer(Service::ReceivePack) => Ok(Push { repo, table, yard: self.yard.clone(), events, id }.answer(body)),
        }
    }
}

impl Handler for Gate {
    async fn admit(&self, _: &Peer, _: &Host, _: u16) -> Result<Admission, Refused> {
        Err(Refused::new(Reason::OpaqueTunnel, "git-gate is no proxy"))
    }

    async fn handle(&self, asked: RequestContext, request: Request<Body>) -> Result<Handled, Refused> {
        if !self.serves(&asked.host) {
            return Err(Refused::new(Reason::HostNotListed, "git-gate is no proxy"));
        }
        let response = self.answer(&asked, request).await.unwrap_or_else(|refused| {
            asked.log.update(|entry| entry.message = Some(refused.to_string()));
            outlet::refusal(&refused)
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
