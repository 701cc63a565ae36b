//! `bottle-load`: many requests over HTTP/1.1, through a proxy or directly, and how long they took.
//!
//! ```text
//! keep-alive, many connections   bottle-load --connections 32 --seconds 5 …
//! new connections                bottle-load --fresh …
//! latency of one connection      bottle-load --connections 1 …
//! large bodies                   bottle-load --connections 1 --requests 1 …/bytes/536870912, or --method POST --body-bytes N
//! ```

mod connection;
mod payload;
mod tally;

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use hyper::http::{HeaderName, HeaderValue};
use hyper::{Method, Uri};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::connection::{Connection, Route};
use crate::payload::Payload;
use crate::tally::Tally;

/// Sends requests and prints one JSON object: how many, how fast, how late, and how many failed.
#[derive(Parser)]
struct Arguments {
    /// What is asked for.
    url: Uri,
    /// Go through this proxy: CONNECT for https, absolute-form for http.
    #[arg(long)]
    proxy: Option<SocketAddr>,
    /// Without a proxy, dial this address instead of the URL's host, which is never looked up.
    #[arg(long)]
    connect: Option<SocketAddr>,
    /// PEM file with the authority that is trusted, alone.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// How many connections at once.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Stop after so many seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Stop after so many requests of all connections together.
    #[arg(long)]
    requests: Option<u64>,
    /// A connection of its own for each request.
    #[arg(long)]
    fresh: bool,
    /// The method.
    #[arg(long, default_value = "GET")]
    method: Method,
    /// Send so many bytes as the body.
    #[arg(long, conflicts_with = "body")]
    body_bytes: Option<u64>,
    /// Send this file as the body.
    #[arg(long)]
    body: Option<PathBuf>,
    /// A further header, `name: value`.
    #[arg(long, value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is `name: value`")?;
    Ok((name.trim().parse().map_err(|_| "not a header name")?, value.trim().parse().map_err(|_| "not a header value")?))
}

fn main() -> ExitCode {
    let written = run(Arguments::parse()).and_then(|result| Ok(writeln!(std::io::stdout(), "{result}")?));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<String, Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(load(arguments))
}

/// What all connections send, and until when.
struct Task {
    route: Route,
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    payload: Payload,
    fresh: bool,
    duration: Duration,
    /// Requests that may still be begun.
    left: AtomicU64,
}

async fn load(arguments: Arguments) -> Result<String, Box<dyn Error>> {
    let payload = match (&arguments.body, arguments.body_bytes) {
        (Some(file), _) => Payload::Whole(std::fs::read(file)?.into()),
        (None, Some(length)) => Payload::Pattern(length),
        (None, None) => Payload::Whole(Default::default()),
    };
    let task = Arc::new(Task {
        route: Route::new(arguments.url, arguments.proxy, arguments.connect, arguments.ca.as_deref())?,
        method: arguments.method,
        headers: arguments.header,
        payload,
        fresh: arguments.fresh,
        duration: Duration::try_from_secs_f64(arguments.seconds)?,
        left: AtomicU64::new(arguments.requests.unwrap_or(u64::MAX)),
    });
    // All begin together: the time that connecting takes is not the requests'.
    let begin = Arc::new(Barrier::new(arguments.connections + 1));
    let mut workers = JoinSet::new();
    for _ in 0..arguments.connections {
        workers.spawn(work(task.clone(), begin.clone()));
    }
    begin.wait().await;
    let start = Instant::now();
    let mut tally = Tally::default();
    while let Some(worked) = workers.join_next().await {
        tally.add(worked?);
    }
    Ok(tally.json(start.elapsed()))
}

/// One connection after the other, one request after the other.
async fn work(task: Arc<Task>, begin: Arc<Barrier>) -> Tally {
    let mut tally = Tally::default();
    let mut kept = if task.fresh { None } else { task.route.connect().await.ok() };
    begin.wait().await;
    let start = Instant::now();
    while start.elapsed() < task.duration
        && task.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    {
        let began = Instant::now();
        match exchange(&task, kept.take()).await {
            Ok((connection, received)) => {
                tally.answered(began.elapsed(), task.payload.length() + received);
                kept = connection.filter(|_| !task.fresh);
            }
            Err(error) => tally.failed(error),
        }
    }
    tally
}

/// One request and its whole answer; the connection comes back if it can be used again.
async fn exchange(task: &Task, kept: Option<Connection>) -> Result<(Option<Connection>, u64), String> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => task.route.connect().await?,
    };
    let request = task.route.request(&task.method, &task.headers, task.payload.body())?;
    let received = connection.send(request).await?;
    Ok((connection.is_open().then_some(connection), received))
}
