//! Judges a request, swaps its credentials, forwards it, and blanks what comes back.

use std::sync::Arc;

use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_policy::{Place, routes};
use bottle_wire::content_coding::Decoder;
use bottle_wire::headers::remove_where;
use bottle_wire::reload::Reloadable;
use bottle_wire::secret::Redactor;
use bottle_wire::{AccessLog, Admission, Body, Handled, Handler, Peer, Refused, RequestContext};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;

use crate::decoded::DecodedBody;
use crate::egress_policy::EgressPolicy;
use crate::messages::ScrubbedStream;
use crate::scrub::{self, ScrubbedBody, Scrubber};
use crate::{credential, decoded, pages, range};

/// The proxy under the policy in force.
#[derive(Clone)]
pub(crate) struct Egress {
    policy: Arc<Reloadable<EgressPolicy>>,
    /// For decoders of answers, in units of 8 MiB.
    windows: Arc<Semaphore>,
}

/// What decoders' windows may take together, in units of 8 MiB.
const MAX_WINDOWS: usize = 2;

impl Egress {
    pub(crate) fn new(policy: Arc<Reloadable<EgressPolicy>>) -> Self {
        Self { policy, windows: Arc::new(Semaphore::new(MAX_WINDOWS)) }
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
        let range = range::asked(request.method(), request.headers());
        if let Some(credential) = injected {
            credential::inject(request.headers_mut(), credential);
            context.log.update(|entry| entry.injected = Some(credential.header.as_str().to_owned()));
        }
        let bodyless = *request.method() == Method::HEAD;
        let mut response = policy.next_hop.send(&context, request, injected.map(|credential| &credential.header)).await?;
        if let Some(credential) = injected {
            response = self.hide(response, credential.redactor.clone(), &context.log, bodyless).await?;
            if let Some(range) = &range {
                response = range::cut(response, range, &context.log);
            }
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
                let stream = ScrubbedStream::new(Box::new(stream), credential.redactor.clone(), context.log);
                Handled::Upgraded(response, Box::new(stream))
            }
        })
    }

    fn own_page(&self, host: &str, path: &str) -> Option<Response<Body>> {
        pages::page(&self.policy, host, path)
    }
}

impl Egress {
    /// Keeps a credential, and the sessions that it opens, from the agent.
    async fn hide(
        &self,
        mut response: Response<Body>,
        redactor: Arc<Redactor>,
        log: &AccessLog,
        bodyless: bool,
    ) -> Result<Response<Body>, Refused> {
        let fields = response.headers_mut();
        remove_where(fields, |name| [header::SET_COOKIE, header::ACCEPT_RANGES].contains(name));
        scrub::fields(&redactor, fields, log);
        let codings = fields.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
        let decoder = Decoder::new(codings)
            .map_err(|_| unrequested("a body with a Content-Encoding that cannot be undone, and its credential could hide in it"))?;
        let empty = bodyless || http_body::Body::is_end_stream(response.body());
        match response.status() {
            StatusCode::PARTIAL_CONTENT => return Err(unrequested("a part of a body, and a part of its credential could hide in it")),
            StatusCode::SWITCHING_PROTOCOLS if response.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS) => {
                return Err(unrequested("a WebSocket extension"));
            }
            StatusCode::SWITCHING_PROTOCOLS => return Ok(response),
            _ => {}
        }
        if let Some(decoder) = decoder {
            decoded::describe_plain(response.headers_mut());
            if !empty {
                let memory = match decoder.windows() {
                    0 => None,
                    units => self.windows.clone().acquire_many_owned(units).await.ok(),
                };
                response = response.map(|body| DecodedBody::new(body, decoder, memory).boxed());
            }
        }
        if empty {
            return Ok(response);
        }
        let scrubber = Scrubber::new(redactor, log.clone());
        Ok(response.map(|body| ScrubbedBody { body, scrubber, trailers: None, ended: false }.boxed()))
    }
}

fn unrequested(what: &str) -> Refused {
    Refused::new(Reason::UpstreamProtocol, format!("the origin sent what was not asked for: {what}")).place(Place::Upstream)
}
