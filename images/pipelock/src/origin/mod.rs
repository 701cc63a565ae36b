//! Origins: connections of their own for each policy, so that a new policy never uses a connection that an old one judged.

pub mod connector;
pub mod dial;
pub mod resolver;
pub mod roots;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bottle_contract::Reason;
use bottle_policy::Place;
use bottle_policy::pipelock_policy::PipelockPolicy;
use bottle_wire::body::refusal_in;
use bottle_wire::client::pool::{Failure, Pool};
use bottle_wire::{Body, Refused, RequestContext};
use http::{Request, Response};

use crate::dlp::upload::Upload;
use connector::{Connector, Origin};
use dial::Dialer;
use roots::Trust;

/// How long an unused connection is kept. Common origins close theirs after 60 s and more.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// The way to all origins under one policy.
#[derive(Clone)]
pub struct Origins {
    pool: Arc<Pool<Origin, Upload>>,
    connector: Connector,
}

impl Origins {
    /// Makes the pool; nothing is dialled.
    pub fn new(policy: &Arc<PipelockPolicy>, dialer: &Dialer) -> anyhow::Result<Self> {
        let connector = Connector { policy: policy.clone(), dialer: dialer.clone(), trust: Trust::new(policy)? };
        Ok(Self { pool: Pool::new(IDLE_TIMEOUT), connector })
    }

    /// Sends one request, whose target and `host` are those of `asked`; redirects are answers like any other. An agent that asks over
    /// HTTP/1.1, which may become something else than HTTP, is asked for in the same way; one that asks over HTTP/2 gets what the
    /// origin prefers.
    ///
    /// What a kept connection loses is retried if it may be, and the log says so, as it names the address that was dialled.
    pub async fn send(&self, asked: &RequestContext, request: Request<Upload>) -> Result<Response<Body>, Refused> {
        let http_2 = asked.http_2 && !asked.websocket;
        let origin = Origin { https: asked.https, host: asked.host.clone(), port: asked.port, http_2 };
        let sent = self.pool.send(origin.clone(), request, &asked.log, async || Ok(self.connector.open(&origin).await?)).await;
        sent.map_err(|failure| match failure {
            Failure::Refused(refused) => refused,
            Failure::Broken(error) => broke_off(&error),
        })
    }
}

/// Finds our own verdict in the error, or says what the origin did wrong.
fn broke_off(error: &(dyn Error + 'static)) -> Refused {
    if let Some(verdict) = refusal_in(error) {
        return verdict.clone();
    }
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let broken =
        |cause: &(dyn Error + 'static)| cause.downcast_ref().is_some_and(|e: &hyper::Error| e.is_parse() || e.is_parse_too_large());
    let protocol = causes.clone().any(broken);
    let why = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let reason = if protocol { Reason::UpstreamProtocol } else { Reason::UpstreamUnreachable };
    Refused::new(reason, format!("the origin's answer broke off: {why}")).place(Place::Upstream)
}
