//! `bottle-hops`: the least that two intercepting proxies between a client and the origin cost. Both end with whoever started them.
//!
//! ```text
//! bottle-hops --port 3128 --dir DIR --name bench.test --address 127.0.0.1:8443 --ca ORIGIN.pem
//! ```

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use bottle_origin::hops;
use clap::Parser;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use tokio::task::LocalSet;

/// Intercepts at a port of the loopback and passes everything on, through two processes.
#[derive(Parser)]
struct Arguments {
    /// Where the first listens.
    #[arg(long)]
    port: u16,
    /// Where `ca.pem`, which clients must trust, and the socket between the two go.
    #[arg(long)]
    dir: PathBuf,
    /// The origin's name.
    #[arg(long)]
    name: String,
    /// Its address.
    #[arg(long)]
    address: SocketAddr,
    /// The authority of its certificate.
    #[arg(long)]
    ca: PathBuf,
    /// Be the second.
    #[arg(long, hide = true)]
    second: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error + Send + Sync>> {
    // Before any thread exists.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let Arguments { port, dir, name, address, ca, second } = arguments;
    let socket = dir.join("second.sock");
    if !second {
        Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).arg("--second").spawn()?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match second {
            true => hops::second(&socket, name, *address, ca).await,
            false => hops::first(*port, &dir.join("ca.pem"), &socket).await,
        }
    })
}
