//! `bottle-origin`: the far end as a process. It says on standard output, in one line of JSON, where it is reached; it takes
//! `release STREAM N` lines on standard input, and ends when that closes, on TERM, or with the thread that started it.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use bottle_origin::{Options, Origin, Serve};
use clap::Parser;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};

/// The far end that bottle's tests and benches talk to.
#[derive(Parser)]
struct Arguments {
    /// Where it records what arrives, and finds what it is to answer.
    #[arg(long)]
    dir: PathBuf,
    /// Write the content of ready.json here too.
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// Serve HOST from files in PATH (git.test: from repositories); without PATH, answer no other hosts than those listed.
    #[arg(long, value_name = "HOST[=PATH]", value_parser = serve)]
    serve: Vec<Serve>,
    /// Keep no journal, answer /1k from memory.
    #[arg(long)]
    bench: bool,
    /// Save each connection's bytes in DIR/raw.
    #[arg(long)]
    raw: bool,
    /// Save each body in DIR/bodies.
    #[arg(long)]
    bodies: bool,
    /// Listen there instead of on 127.0.0.1.
    #[arg(long)]
    address: Option<std::net::Ipv4Addr>,
}

fn serve(text: &str) -> Result<Serve, String> {
    let (host, path) = match text.split_once('=') {
        Some((host, path)) => (host, Some(PathBuf::from(path))),
        None => (text, None),
    };
    match host {
        "" => Err("a host is missing".into()),
        host => Ok(Serve { host: host.to_ascii_lowercase(), path }),
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // Before any thread exists. A parent that died earlier has closed our standard input, which ends us too.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve_until_told(arguments))
}

async fn serve_until_told(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let Arguments { dir, port_file, serve, bench, raw, bodies, address } = arguments;
    let origin = Origin::start_in(&dir, Options { serve, bench, raw, bodies, address }).await?;
    let mut ready = serde_json::to_string(origin.ready())?;
    if let Some(file) = port_file {
        origin.announce(&file)?;
    }
    ready.push('\n');
    let mut stdout = tokio::io::stdout();
    stdout.write_all(ready.as_bytes()).await?;
    stdout.flush().await?;

    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let order = tokio::select! {
            _ = terminate.recv() => break,
            order = orders.next_line() => order?,
        };
        let Some(order) = order else { break };
        let mut words = order.split_whitespace();
        if let (Some("release"), Some(stream), Some(Ok(n))) = (words.next(), words.next(), words.next().map(str::parse)) {
            origin.release(stream, n);
        } else {
            return Err(format!("not an order: {order}").into());
        }
    }
    // Standard input is read by a thread that cannot be interrupted: leave without waiting for it.
    std::process::exit(0)
}
