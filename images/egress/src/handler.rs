//! Judges, swaps credentials, sends on, and blanks what comes back.

use std::sync::Arc;

use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_policy::routes;
use bottle_wire::reload::Live;
use bottle_wire::secret::Hidden;
use bottle_wire::{Asked, Body, Forward, Notes, Refused, tunnel};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;

use crate::policy::Table;
use crate::scrub::{self, ScrubbedBody, ScrubbedStream, Scrubber};
use crate::{credential, pages};

/// The proxy's policy.
#[derive(Clone)]
pub(crate) struct Egress {
    live: Arc<Live<Table>>,
}

impl Egress {
    pub(crate) fn new(live: Arc<Live<Table>>) -> Self {
        Self { live }
    }
}

impl Forward for Egress {
    fn admit(&self, host: &Host, port: u16) -> Result<(), Refused> {
        routes::admit(&self.live.table().config.routes, host, port)
    }

    async fn forward(&self, asked: Asked, mut request: Request<Body>) -> Result<Response<Body>, Refused> {
        let table = self.live.table();
        asked.notes.note(|noted| noted.generation = Some(table.config.generation));
        let route = routes::judge(&table.config.routes, &asked, request.method().as_str(), request.headers())?;
        asked.notes.note(|noted| noted.rule = Some(route.host.text()));

        let configured = table.credential(route);
        if let Some(credential) = configured {
            credential::take_out(request.headers_mut(), &credential.header);
        }
        // `Route::credential` is the one place that says when it may be sent.
        let put_in = configured.filter(|_| route.credential(asked.https).is_some());
        if let Some(credential) = put_in {
            credential::put_in(request.headers_mut(), credential);
            asked.notes.note(|noted| noted.injected = Some(credential.header.as_str().to_owned()));
        }
        let bodyless = *request.method() == Method::HEAD;
        let response = table.upstream.send(&asked, request, put_in.map(|credential| &credential.header)).await?;
        match put_in {
            None => Ok(response),
            Some(credential) => hide(response, credential.hidden.clone(), &asked.notes, bodyless).await,
        }
    }

    fn own_page(&self, host: &str, path: &str) -> Option<Response<Body>> {
        pages::page(&self.live, host, path)
    }
}

/// Keeps a credential, and the sessions that it opens, from the agent.
async fn hide(mut response: Response<Body>, hidden: Arc<Hidden>, notes: &Notes, bodyless: bool) -> Result<Response<Body>, Refused> {
    response.headers_mut().remove(header::SET_COOKIE);
    scrub::fields(&hidden, response.headers_mut(), notes);
    if response.status() == StatusCode::PARTIAL_CONTENT {
        return Err(unasked("a part of a body, in which a part of its credential could hide"));
    }
    let scrubber = Scrubber::new(hidden, notes.clone());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if response.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err(unasked("a WebSocket extension"));
        }
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(|_| unasked("an upgrade"))?;
        tunnel::carry(&mut response, Box::new(ScrubbedStream::new(Box::new(TokioIo::new(upgraded)), scrubber)));
        return Ok(response);
    }
    let encoded =
        response.headers().get_all(header::CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    let empty = bodyless || http_body::Body::is_end_stream(response.body());
    if empty {
        return Ok(response);
    }
    if encoded {
        return Err(unasked("a compressed body, in which its credential could hide"));
    }
    let (parts, body) = response.into_parts();
    let body = ScrubbedBody { body, scrubber, trailers: None, ended: false };
    Ok(Response::from_parts(parts, body.boxed()))
}

fn unasked(what: &str) -> Refused {
    Refused::new(Reason::UpstreamProtocol, format!("the origin sent {what} that was not asked for")).place("upstream")
}
