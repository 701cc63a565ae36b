//! Judges a request, swaps its credentials, forwards it, and blanks what comes back.

use std::sync::Arc;

use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_policy::{Place, routes};
use bottle_wire::reload::Reloadable;
use bottle_wire::secret::Redactor;
use bottle_wire::{AccessLog, Admission, Body, Handled, Handler, Peer, Refused, RequestContext};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;

use crate::egress_policy::EgressPolicy;
use crate::scrub::{self, ScrubbedBody, ScrubbedStream, Scrubber};
use crate::{credential, pages};

/// The proxy under the policy in force.
#[derive(Clone)]
pub(crate) struct Egress {
    policy: Arc<Reloadable<EgressPolicy>>,
}

impl Egress {
    pub(crate) fn new(policy: Arc<Reloadable<EgressPolicy>>) -> Self {
        Self { policy }
    }
}

impl Handler for Egress {
    async fn admit(&self, _: &Peer, host: &Host, port: u16) -> Result<Admission, Refused> {
        routes::admit(&self.policy.current().config.routes, host, port)?;
        Ok(Admission::Intercept)
    }

    async fn handle(&self, context: RequestContext, mut request: Request<Body>) -> Result<Handled, Refused> {
        let policy = self.policy.current();
        context.log.update(|entry| entry.generation = Some(policy.config.generation));
        let index = routes::judge(&policy.config.routes, &context, request.method().as_str(), request.headers())?;
        let route = &policy.config.routes[index];
        context.log.update(|entry| entry.rule = Some(route.host.text()));

        let configured = policy.credential(index);
        if let Some(credential) = configured {
            credential::remove(request.headers_mut(), &credential.header);
        }
        // `routes::credential` is the one place that says when it may be sent.
        let injected = configured.filter(|_| routes::credential(route, context.https).is_some());
        if let Some(credential) = injected {
            credential::inject(request.headers_mut(), credential);
            context.log.update(|entry| entry.injected = Some(credential.header.as_str().to_owned()));
        }
        let bodyless = *request.method() == Method::HEAD;
        let mut response = policy.next_hop.send(&context, request, injected.map(|credential| &credential.header)).await?;
        if let Some(credential) = injected {
            response = hide(response, credential.redactor.clone(), &context.log, bodyless)?;
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Handled::Response(response, policy.next_hop.answers_as()));
        }
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(|_| unrequested("an upgrade"))?;
        let response = response.map(drop);
        let stream = TokioIo::new(upgraded);
        Ok(match injected {
            None => Handled::Upgraded(response, Box::new(stream)),
            Some(credential) => {
                let scrubber = Scrubber::new(credential.redactor.clone(), context.log);
                Handled::Upgraded(response, Box::new(ScrubbedStream::new(Box::new(stream), scrubber)))
            }
        })
    }

    fn own_page(&self, host: &str, path: &str) -> Option<Response<Body>> {
        pages::page(&self.policy, host, path)
    }
}

/// Keeps a credential, and the sessions that it opens, from the agent.
fn hide(mut response: Response<Body>, redactor: Arc<Redactor>, log: &AccessLog, bodyless: bool) -> Result<Response<Body>, Refused> {
    response.headers_mut().remove(header::SET_COOKIE);
    scrub::fields(&redactor, response.headers_mut(), log);
    let fields = response.headers();
    let encoded = fields.get_all(header::CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    let empty = bodyless || http_body::Body::is_end_stream(response.body());
    match response.status() {
        StatusCode::PARTIAL_CONTENT => Err(unrequested("a part of a body, in which a part of its credential could hide")),
        StatusCode::SWITCHING_PROTOCOLS if fields.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) => {
            Err(unrequested("a WebSocket extension"))
        }
        StatusCode::SWITCHING_PROTOCOLS => Ok(response),
        _ if empty => Ok(response),
        _ if encoded => Err(unrequested("a compressed body, in which its credential could hide")),
        _ => {
            let scrubber = Scrubber::new(redactor, log.clone());
            Ok(response.map(|body| ScrubbedBody { body, scrubber, trailers: None, ended: false }.boxed()))
        }
    }
}

fn unrequested(what: &str) -> Refused {
    Refused::new(Reason::UpstreamProtocol, format!("the origin sent {what} that was not asked for")).place(Place::Upstream)
}
