//! A running far end.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bottle_test_support::origin::{Connection, Ready, Request};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::journal::Journal;
use crate::listen;
use crate::release::Releases;
use crate::site::git;
use crate::site::packages::Packages;

/// A host that is served, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// The name, lower case.
    pub host: String,
    /// Files, or for `git.test` repositories, below this directory; without one, the site that is built in.
    pub path: Option<PathBuf>,
}

/// How an origin serves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// If any entry has no path, only the listed hosts are answered, others get 421.
    pub serve: Vec<Serve>,
    /// Keep no journal: for measuring.
    pub bench: bool,
    /// Save the bytes of each connection, as they came out of TLS, in `raw/<connection>`.
    pub raw: bool,
    /// Save each body in `bodies/<n>`.
    pub bodies: bool,
    /// Where it listens; 127.0.0.1 if nothing is said.
    pub address: Option<Ipv4Addr>,
}

/// What every connection shares.
pub(crate) struct World {
    pub(crate) directory: PathBuf,
    pub(crate) options: Options,
    pub(crate) journal: Journal,
    pub(crate) releases: Arc<Releases>,
    pub(crate) packages: Packages,
}

/// A far end inside this process. It ends with this value.
pub struct Origin {
    ready: Ready,
    world: Arc<World>,
    /// Aborted on drop; connections are spawned inside these.
    _listeners: JoinSet<()>,
    _own_directory: Option<TempDir>,
}

impl Origin {
    /// Serves with a directory of its own.
    pub async fn start() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bottle-origin-").tempdir()?;
        let mut origin = Self::start_in(directory.path(), Options::default()).await?;
        origin._own_directory = Some(directory);
        Ok(origin)
    }

    /// Serves; what arrives is recorded in `directory`, where `ready.json` appears once all ports answer.
    pub async fn start_in(directory: &Path, options: Options) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let authority = Arc::new(Authority::new().map_err(io::Error::other)?);
        let ca = directory.join("ca.pem");
        fs::write(&ca, authority.certificate())?;
        if options.raw {
            fs::create_dir_all(directory.join("raw"))?;
        }
        git::make_sample(&directory).await?;
        let address = options.address.unwrap_or(Ipv4Addr::LOCALHOST);
        let world = Arc::new(World {
            journal: Journal::create(&directory, options.bodies.then(|| directory.join("bodies")))?,
            releases: Arc::default(),
            packages: Packages::build().map_err(io::Error::other)?,
            options,
            directory,
        });

        let [https, http, relay] = [bind(address).await?, bind(address).await?, bind(address).await?];
        let ready = Ready { https: https.local_addr()?, http: http.local_addr()?, relay: relay.local_addr()?, ca };
        let tls = authority.server_config().map_err(io::Error::other)?;
        let mut listeners = JoinSet::new();
        listeners.spawn(listen::relay(relay, world.clone(), ready.https, ready.http));
        listeners.spawn(listen::http(http, world.clone()));
        listeners.spawn(listen::https(https, world.clone(), Arc::new(tls)));
        let origin = Self { ready, world, _listeners: listeners, _own_directory: None };
        origin.announce(&origin.directory().join("ready.json"))?;
        Ok(origin)
    }

    /// Writes where it is reached into `file`; whoever sees the file sees all of it.
    pub fn announce(&self, file: &Path) -> io::Result<()> {
        let mut fresh = file.as_os_str().to_owned();
        fresh.push(".new");
        fs::write(&fresh, serde_json::to_vec(&self.ready)?)?;
        fs::rename(&fresh, file)
    }

    /// Where it is reached.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.world.directory
    }

    /// What has arrived so far.
    pub fn requests(&self) -> Vec<Request> {
        self.world.journal.requests()
    }

    /// Who has connected so far.
    pub fn connections(&self) -> Vec<Connection> {
        self.world.journal.connections()
    }

    /// Waits until at least `n` requests have arrived; panics with those that have when `patience` is over.
    pub async fn wait_for(&self, n: usize, patience: Duration) -> Vec<Request> {
        let arrived = tokio::time::timeout(patience, self.world.journal.reached(n)).await;
        assert!(arrived.is_ok(), "{n} requests were expected, these came: {:#?}", self.requests());
        self.requests()
    }

    /// Lets the next `n` events of the stream `/sse?release=STREAM` go.
    pub fn release(&self, stream: &str, n: usize) {
        self.world.releases.release(stream, n);
    }
}

async fn bind(address: Ipv4Addr) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((address, 0))).await
}
