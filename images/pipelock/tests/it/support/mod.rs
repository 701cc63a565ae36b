//! A door in this process, an origin beside it, and a sibling that talks to it.

pub(crate) mod origin;
pub(crate) mod sibling;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bottle_contract::event::Event;
use bottle_contract::pipelock::{Connect, Limits, PipelockConfig};
use bottle_pipelock::door::Door;
use bottle_pipelock::origin::dial::{Dialer, Kernel};
use bottle_pipelock::origin::resolver::{Lookup, Resolve};
use bottle_policy::guard::interfaces;
use bottle_policy::pipelock_policy::PipelockPolicy;
use bottle_scan::Fingerprints;
use bottle_wire::{Events, LeafAuthority, Peer, Serving, serve};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use origin::Origin;
pub(crate) use sibling::Sibling;

/// The bottle's own secret, of no vendor's shape.
pub(crate) const SECRET: &str = "canary-7Qm2xV9tLw4Rz8Kp1Ns6Yb3Hd5Fg0Jc";
/// Within this, everything that is awaited must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// No name resolves: tests reach origins by rows of `connect` alone.
struct NoNames;
impl Resolve for NoNames {
    fn resolve<'a>(&'a self, _: &'a str) -> Lookup<'a> {
        Box::pin(async { Err("this test resolves nothing".to_owned()) })
    }
}

/// A configuration that lists `*.test`, knows [`SECRET`], and reaches nothing.
pub(crate) fn config() -> PipelockConfig {
    let mut config = PipelockConfig { api_allowlist: vec!["*.test".parse().unwrap()], ..PipelockConfig::closed("test") };
    config.x_bottle.fingerprints = Some(Fingerprints::of([7; 32], &[SECRET.as_bytes()]).into());
    config.x_bottle.limits = Limits { connect_ms: 2_000, handshake_ms: 2_000, ..Limits::default() };
    config
}

/// A configuration under which `host` is `origin`.
pub(crate) fn config_for(host: &str, origin: &Origin) -> PipelockConfig {
    let mut config = config();
    config.x_bottle.connect.push(Connect { host: host.parse().unwrap(), address: origin.address });
    config.x_bottle.trust.push(origin.authority.display().to_string());
    config
}

/// A door that serves a unix socket for siblings, and a TCP socket for the agent if it was given an authority.
pub(crate) struct Pipelock {
    pub(crate) socket: PathBuf,
    pub(crate) agent: std::net::SocketAddr,
    pub(crate) door: Door,
    _directory: TempDir,
    events: Receiver<Event>,
    _stop: DropGuard,
}

impl Pipelock {
    /// Serves under this configuration.
    pub(crate) fn start(config: PipelockConfig) -> Self {
        Self::facing(config, None)
    }

    /// Serves the agent as well, with interception.
    pub(crate) fn facing(config: PipelockConfig, authority: Option<LeafAuthority>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("pipelock.sock");
        let link = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let agent = tcp.local_addr().unwrap();
        let (events, received) = Events::captured();
        let limits = config.x_bottle.limits;
        let dialer = Dialer {
            resolve: Arc::new(NoNames),
            dial: Arc::new(Kernel),
            interfaces: Arc::new(interfaces::System::default()),
            own: Arc::new([agent]),
        };
        let door = Door::new(PipelockPolicy::new(config).unwrap(), dialer, events.clone()).unwrap();
        let stop = CancellationToken::new();
        let serving =
            |peer, authority| Serving { component: "pipelock", peer, authority, limits, events: events.clone(), stop: stop.clone() };
        tokio::spawn(serve(OwnedFd::from(link), serving(Peer::Sibling, None), door.clone()));
        tokio::spawn(serve(OwnedFd::from(tcp), serving(Peer::Agent, authority.map(Arc::new)), door.clone()));
        Self { socket, agent, door, _directory: directory, events: received, _stop: stop.drop_guard() }
    }

    /// Puts another policy in force, as the supervisor does.
    pub(crate) async fn replace(&self, config: &PipelockConfig) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("pipelock.yaml"), serde_json::to_vec(config).unwrap()).unwrap();
        self.door.reload(directory.path());
        let event = self.event().await;
        assert_eq!((&*event.event, event.generation), ("reload", Some(config.x_bottle.generation)), "{event:?}");
    }

    /// The next event, which must come.
    pub(crate) async fn event(&self) -> Event {
        let deadline = std::time::Instant::now() + DEADLINE;
        loop {
            match self.events.try_recv() {
                Ok(event) => return event,
                Err(_) if std::time::Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(2)).await,
                Err(error) => panic!("no event came: {error}"),
            }
        }
    }
}

/// An event as the fields that tell a verdict: what, status, reason, place.
pub(crate) fn told(event: &Event) -> (&str, Option<u16>, Option<&str>, Option<&str>) {
    (&event.event, event.status, event.reason.map(|r| r.slug()), event.place.as_deref())
}
