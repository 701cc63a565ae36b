//! Holds a request that no route allows while a person is asked. Nothing is dialled or looked up for it meanwhile.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bottle_contract::Untrusted;
use bottle_contract::ask::{FromHolder, HeldRequest, MAX_LINE, ToHolder};
use bottle_contract::egress::Asks;
use bottle_contract::names;
use bottle_contract::reason::Reason;
use bottle_wire::{Body, Refused, RequestContext, conceals};
use http::Request;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;

use crate::peeked_body;

/// Requests that are held at one time; each may take [`peeked_body::MAX_BYTES`] of memory.
const MAX_HELD: usize = 20;
/// Names of headers that are told; a request with more is not asked about.
const MAX_HEADERS: usize = 64;
/// For `supervise` to take a question, and to name it.
const SUPERVISE_TIMEOUT: Duration = Duration::from_secs(2);

/// The places for held requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Holds(Arc<Semaphore>);

impl Default for Holds {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_HELD)))
    }
}

impl Holds {
    /// Asks a person about a request that was `refused`. Returns the request when it should be judged again; otherwise it stays refused.
    pub(crate) async fn ask(
        &self,
        asks: &Asks,
        generation: u64,
        context: &RequestContext,
        request: Request<Body>,
        refused: Refused,
    ) -> Result<Request<Body>, Refused> {
        let Ok(_slot) = self.0.clone().try_acquire_owned() else { return Err(refused) };
        let hold = Duration::from_millis(asks.hold_ms);
        let (parts, body) = request.into_parts();
        let mut names: Vec<String> = parts.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        names.dedup();
        // Whoever is asked must see all of it, and what may be a secret is shown to nobody.
        let host = context.host.to_string();
        if names.len() > MAX_HEADERS || conceals(&context.path) || conceals(&host) {
            return Err(refused);
        }
        let (body, digest) = peeked_body::peek(body).await;
        let held = HeldRequest {
            component: names::EGRESS.0.to_owned(),
            request_id: context.request_id.clone(),
            generation,
            reason: refused.reason,
            method: parts.method.as_str().to_owned(),
            https: context.https,
            host,
            port: context.port,
            path: context.path.clone(),
            query_sha256: context.query.as_deref().map(|query| peeked_body::sha256(query.as_bytes())),
            headers: names,
            body_bytes: digest.bytes,
            body_sha256: digest.sha256,
        };
        match self::hold(asks, hold, &held).await {
            Held::JudgeAgain => Ok(Request::from_parts(parts, body)),
            Held::NotAsked => Err(refused),
            Held::Answered(answer) => Err(answer),
        }
    }
}

/// What became of a question.
enum Held {
    JudgeAgain,
    NotAsked,
    Answered(Refused),
}

async fn hold(asks: &Asks, hold: Duration, held: &HeldRequest) -> Held {
    let Ok(Ok((mut from, mut to, ask))) = tokio::time::timeout(SUPERVISE_TIMEOUT, begin(&asks.socket, held)).await else {
        return Held::NotAsked;
    };
    let mut ask = match ask {
        ToHolder::Asked { ask } => ask,
        other => return closed(other),
    };
    let deadline = tokio::time::sleep(hold);
    tokio::pin!(deadline);
    loop {
        let mut line = Vec::new();
        tokio::select! {
            biased;
            heard = hear(&mut from, &mut line) => match heard {
                // The policy has changed, and with it the question.
                Ok(ToHolder::Asked { ask: next }) => ask = next,
                Ok(other) => return closed(other),
                Err(_) => return Held::NotAsked,
            },
            () = &mut deadline => {
                // The question stays open: a later request like this one finds its answer.
                let _ = say(&mut to, &FromHolder::Released).await;
                let ask = Untrusted::new(&ask);
                return Held::Answered(Refused::new(Reason::ApprovalPending, format!("{ask} waits for a person to allow this")));
            }
        }
    }
}

/// What an answer means for the request. The end of the connection withdraws nothing any more.
fn closed(answer: ToHolder) -> Held {
    match answer {
        ToHolder::JudgeAgain => Held::JudgeAgain,
        ToHolder::NotAsked | ToHolder::Asked { .. } => Held::NotAsked,
        ToHolder::Denied { ask, reason } => {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            Held::Answered(Refused::new(Reason::ApprovalDenied, format!("a person has refused {ask}{reason}")))
        }
        ToHolder::Expired { ask } => Held::Answered(Refused::new(Reason::ApprovalDenied, format!("nobody has answered {ask} in time"))),
    }
}

async fn begin(socket: &str, held: &HeldRequest) -> io::Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf, ToHolder)> {
    let (from, mut to) = UnixStream::connect(socket).await?.into_split();
    let mut from = BufReader::new(from);
    say(&mut to, &FromHolder::Ask(Box::new(held.clone()))).await?;
    let first = hear(&mut from, &mut Vec::new()).await?;
    Ok((from, to, first))
}

async fn say(to: &mut OwnedWriteHalf, message: &FromHolder) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    if line.len() > MAX_LINE {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    to.write_all(&line).await
}

async fn hear(from: &mut BufReader<OwnedReadHalf>, line: &mut Vec<u8>) -> io::Result<ToHolder> {
    from.take(MAX_LINE as u64).read_until(b'\n', line).await?;
    let message = line.strip_suffix(b"\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(serde_json::from_slice(message)?)
}
