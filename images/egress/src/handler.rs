//! Judges a request, swaps its credentials, forwards it, and blanks what comes back.

use std::sync::Arc;

use bottle_contract::grant::Grant;
use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_contract::route::Auth;
use bottle_policy::grants::Verdict;
use bottle_policy::{Place, routes};
use bottle_wire::content_coding::Decoder;
use bottle_wire::headers::remove_where;
use bottle_wire::reload::Reloadable;
use bottle_wire::secret::{Credential, Redactor};
use bottle_wire::tunnel::Duplex;
use bottle_wire::{
    AccessLog, Admission, Body, Events, Handled, Handler, Peer, Refused, RequestContext, RevocableBody, RevocableStream, Revoked,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;

use crate::decoded::DecodedBody;
use crate::egress_policy::EgressPolicy;
use crate::grant_uses::{GrantUses, rule};
use crate::hold::Holds;
use crate::messages::ScrubbedStream;
use crate::scrub::{self, ScrubbedBody, Scrubber};
use crate::{credential, decoded, pages, range};

/// The proxy under the policy in force.
#[derive(Clone)]
pub(crate) struct Egress {
    policy: Arc<Reloadable<EgressPolicy>>,
    uses: GrantUses,
    holds: Holds,
    /// For decoders of answers, in units of 8 MiB.
    windows: Arc<Semaphore>,
}

/// What decoders' windows may take together, in units of 8 MiB.
const MAX_WINDOWS: usize = 2;

impl Egress {
    pub(crate) fn new(policy: Arc<Reloadable<EgressPolicy>>, events: &Events) -> Self {
        Self { policy, uses: GrantUses::new(events.clone()), holds: Holds::default(), windows: Arc::new(Semaphore::new(MAX_WINDOWS)) }
    }
}

/// Why a request is allowed, as one generation has judged it.
struct Allowed<'p> {
    policy: &'p EgressPolicy,
    verdict: Verdict,
    /// Of the route that it goes by, if any: what the agent sent in its place is taken out.
    configured: Option<&'p Credential>,
    /// The one that is put in.
    injected: Option<&'p Credential>,
}

impl<'p> Allowed<'p> {
    fn new(policy: &'p EgressPolicy, verdict: Verdict, https: bool) -> Self {
        let configured = verdict.route.and_then(|route| policy.credential(route));
        // `routes::credential` is the one place that says when it may be sent.
        let is_sent = verdict.route.is_some_and(|route| routes::credential(&policy.config.routes[route], https).is_some());
        Self { policy, verdict, configured, injected: configured.filter(|_| is_sent) }
    }

    fn grant(&self) -> Option<&'p Grant> {
        self.verdict.grant.map(|grant| &self.policy.config.grants[grant])
    }

    /// The rule that the event names.
    fn rule(&self) -> String {
        match (self.grant(), self.verdict.route) {
            (Some(grant), _) => rule(grant),
            (None, Some(route)) => self.policy.config.routes[route].host.text(),
            (None, None) => String::new(),
        }
    }

    /// What is put in, by its place in the configuration.
    fn auth(&self) -> Option<&'p Auth> {
        self.injected.and(self.verdict.route).and_then(|route| self.policy.config.routes[route].auth.as_ref())
    }
}

impl Handler for Egress {
    async fn admit(&self, _: &Peer, host: &Host, port: u16) -> Result<Admission, Refused> {
        let policy = self.policy.current();
        match policy.table().admit(host, port) {
            // The question is about the request inside, which is not sent unless it is allowed.
            Err(refused) if policy.asks_about(host, port, &refused).is_some() => Ok(Admission::Intercept),
            admitted => admitted.map(|()| Admission::Intercept),
        }
    }

    async fn handle(&self, context: RequestContext, mut request: Request<Body>) -> Result<Handled, Refused> {
        let mut policy = self.policy.current();
        context.log.update(|entry| entry.generation = Some(policy.config.generation));
        let mut verdict = self.judge(&policy, &context, &request);
        if let Err(refused) = &verdict
            && let Some(asks) = policy.asks_about(&context.host, context.port, refused)
        {
            request = self.holds.ask(asks, policy.config.generation, &context, request, refused.clone()).await?;
            policy = self.policy.current();
            context.log.update(|entry| entry.generation = Some(policy.config.generation));
            verdict = self.judge(&policy, &context, &request);
        }
        let verdict = verdict?;
        let allowed = Allowed::new(&policy, verdict, context.https);
        context.log.update(|entry| entry.rule = Some(allowed.rule()));
        let Some(grant) = allowed.grant() else {
            let revoked = context.websocket.then(|| self.revocation(&context, &request, &allowed));
            return self.forward(context, request, allowed, revoked).await;
        };
        let ended = || Refused::new(Reason::GrantEnded, "what was approved for this request has ended");
        context.log.guard(self.uses.begin(grant).ok_or_else(ended)?);
        let revoked = self.revocation(&context, &request, &allowed);
        if context.websocket {
            return self.forward(context, request, allowed, Some(revoked)).await;
        }
        let mut revoked = revoked;
        let handled = tokio::select! {
            biased;
            () = &mut revoked => return Err(ended()),
            handled = self.forward(context, request, allowed, None) => handled?,
        };
        Ok(match handled {
            Handled::Response(response, by) => {
                Handled::Response(response.map(|body| RevocableBody::new(body, revoked, ended()).boxed()), by)
            }
            upgraded @ Handled::Upgraded(..) => upgraded,
        })
    }

    fn own_page(&self, host: &str, path: &str) -> Option<Response<Body>> {
        pages::page(&self.policy, host, path)
    }
}

impl Egress {
    fn judge(&self, policy: &EgressPolicy, context: &RequestContext, request: &Request<Body>) -> Result<Verdict, Refused> {
        policy.table().judge(context, request.method().as_str(), request.headers(), |grant| self.uses.is_open(grant))
    }

    /// Ready once the policy in force no longer allows this request, or no longer with the same credential.
    fn revocation(&self, context: &RequestContext, request: &Request<Body>, allowed: &Allowed<'_>) -> Revoked {
        let (target, method, headers) = (context.target.clone(), request.method().clone(), request.headers().clone());
        let (https, auth) = (context.https, allowed.auth().cloned());
        let allows = move |policy: &EgressPolicy| {
            // A grant that is used up still allows what it has allowed.
            let verdict = policy.table().judge(&target, method.as_str(), &headers, |_| true);
            verdict.is_ok_and(|verdict| Allowed::new(policy, verdict, https).auth() == auth.as_ref())
        };
        let policy = self.policy.clone();
        Box::pin(async move { policy.until_revoked(allows).await })
    }

    async fn forward(
        &self,
        context: RequestContext,
        mut request: Request<Body>,
        allowed: Allowed<'_>,
        revoked: Option<Revoked>,
    ) -> Result<Handled, Refused> {
        let Allowed { policy, configured, injected, .. } = allowed;
        if let Some(credential) = configured {
            credential::remove(request.headers_mut(), &credential.header);
        }
        let range = range::asked(request.method(), request.headers());
        if let Some(credential) = injected {
            credential::inject(request.headers_mut(), credential);
            context.log.update(|entry| entry.injected = Some(credential.header.as_str().to_owned()));
        }
        let bodyless = *request.method() == Method::HEAD;
        let header = injected.map(|credential| &credential.header);
        let mut response = policy.next_hop.send(&context, request, header, policy.config.generation).await?;
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
        let stream: Box<dyn Duplex> = match injected {
            None => Box::new(stream),
            Some(credential) => Box::new(ScrubbedStream::new(Box::new(stream), credential.redactor.clone(), context.log)),
        };
        Ok(Handled::Upgraded(
            response,
            match revoked {
                None => stream,
                Some(revoked) => Box::new(RevocableStream::new(stream, revoked)),
            },
        ))
    }

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
