//! `bottle-demo-origin`: the far end of `bottle demo`, on loopback. It says on standard output where it is reached, then what arrives, and
//! ends when its standard input closes. It takes no arguments, writes no file, and runs outside of the bottle: the demonstration asks it
//! instead of believing the proxies.

mod answer;
mod authority;

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use bottle_contract::demo::Ready;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::to_string;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

fn main() -> ExitCode {
    // Whoever started it holds the other end, and closes it by ending too.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0)
    });
    let served =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Into::into).and_then(|runtime| runtime.block_on(serve()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bottle-demo-origin: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    let (certificate, config) = authority::server()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    say(&to_string(&Ready { address: listener.local_addr()?, certificate })?)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream, acceptor.clone()));
    }
}

/// Serves one connection. However it ends, what arrived on it has been said.
async fn connection(stream: TcpStream, acceptor: TlsAcceptor) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer::answer)).await;
}

/// Writes a line at once.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
