//! Origins: connections of their own for each table, so that a new table never uses a connection that an old one judged.

mod any;
pub mod connect;
pub mod dial;
mod note;
pub mod resolve;
pub mod tls;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bottle_contract::Reason;
use bottle_contract::host::Host;
use bottle_policy::table::Table;
use bottle_wire::body::{self, refusal_in};
use bottle_wire::pool::{Failure, Pool};
use bottle_wire::{Asked, Body, Refused};
use http::{Request, Response, Uri};

use crate::dlp::body::Upload;
use any::Any;
use connect::Connector;
use dial::Door;
use tls::Trust;

/// How long an unused connection is kept. Common origins close theirs after 60 s and more.
const FRESH: Duration = Duration::from_secs(55);

/// The way to all origins under one table.
#[derive(Clone)]
pub struct Origins {
    any: Any,
    http_1: Arc<Pool<Origin, Upload>>,
    connector: Connector,
}

/// Whom a connection may be used for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Origin {
    https: bool,
    host: Host,
    port: u16,
}

impl Origins {
    /// Makes the pools; nothing is dialled.
    pub fn new(table: &Arc<Table>, door: &Door) -> Result<Self, String> {
        let trust = Trust::new(table)?;
        let connector = |tls| Connector { table: table.clone(), door: door.clone(), tls };
        Ok(Self { any: Any::new(connector(trust.any)), http_1: Pool::new(FRESH), connector: connector(trust.http1) })
    }

    /// Sends one request, whose target and `host` are those of `asked`; redirects are answers like any other. An agent that asks over
    /// HTTP/1.1, which may become something else than HTTP, is asked for in the same way; one that asks over HTTP/2 gets what the
    /// origin prefers.
    ///
    /// What a kept connection loses is sent again if it may be, and the notes tell so, as they tell the address that was dialled.
    pub async fn send(&self, asked: &Asked, mut request: Request<Upload>) -> Result<Response<Body>, Refused> {
        if asked.http_2 && !asked.websocket {
            return Ok(Box::pin(self.any.send(request, &asked.notes)).await?.map(body::incoming));
        }
        let origin = Origin { https: asked.https, host: asked.host.clone(), port: asked.port };
        if let Some(path) = request.uri().path_and_query() {
            *request.uri_mut() = Uri::from(path.clone());
        }
        let dial = async || {
            let link = self.connector.open(asked.https, &asked.host, asked.port).await?;
            let address = link.dialled.address().into();
            Ok((link, Some(address)))
        };
        self.http_1.send(origin, request, &asked.notes, dial).await.map_err(|failure| match failure {
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
    Refused::new(reason, format!("the origin's answer broke off: {why}")).place("upstream")
}
