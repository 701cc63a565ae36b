//! Upstreams over HTTPS and SSH, each through a tunnel that pipelock opens.

mod https;
mod ssh;
mod tunnel;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bottle_contract::Untrusted;
use bottle_contract::gate::{GateLimits, Remote};
use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::secret::Redactor;
use bottle_wire::{Body, Refused};
use tokio_rustls::TlsConnector;

use crate::advert::Service;
use crate::pkt::{Broken, Packet, Packets};

pub use https::tls;
pub use tunnel::TunnelDialer;

/// The client of one upstream.
pub enum Upstream {
    /// Smart HTTP.
    Https(https::Https),
    /// The same services over SSH.
    Ssh(Box<ssh::Ssh>),
}

impl Upstream {
    /// Sets up the client; reads its credentials.
    pub fn new(remote: &Remote, dialer: &Arc<TunnelDialer>, tls: &TlsConnector, secrets: &Path) -> anyhow::Result<Self> {
        Ok(match remote {
            Remote::Https { host, port, path, auth } => {
                Self::Https(https::Https::new(dialer.clone(), tls.clone(), host.clone(), *port, path, auth.as_ref(), secrets)?)
            }
            Remote::Ssh { host, port, user, path, host_key, identity } => {
                Self::Ssh(Box::new(ssh::Ssh::new(dialer.clone(), host.clone(), *port, user, path, host_key, identity, secrets)?))
            }
        })
    }

    /// Its advertisement for a service. `version` is the protocol version that the client requests.
    pub async fn advertisement(&self, service: Service, version: u8) -> Result<Packets, Refused> {
        match self {
            Self::Https(https) => https.advertisement(service, version).await,
            Self::Ssh(ssh) => Ok(Packets::new(ssh.run(service, version, bottle_wire::body::full("0000")).await?)),
        }
    }

    /// Runs a service with this request, and returns its response.
    pub async fn run(&self, service: Service, version: u8, request: Body) -> Result<Packets, Refused> {
        match self {
            Self::Https(https) => https.run(service, version, request).await,
            Self::Ssh(ssh) => {
                let mut packets = Packets::new(ssh.run(service, version, request).await?);
                // Over SSH the advertisement always comes first.
                loop {
                    match packets.next().await.map_err(stream_failure)? {
                        Some(Packet::Data(line)) => refuse_error_packet(&line, self)?,
                        Some(Packet::Flush) => return Ok(packets),
                        Some(_) => return Err(protocol("an unexpected packet before the advertisement")),
                        None => return Err(protocol("no advertisement")),
                    }
                }
            }
        }
    }

    /// Blanks the credential, should upstream repeat it to the agent.
    pub fn redactor(&self) -> Arc<Redactor> {
        match self {
            Self::Https(https) => https.redactor(),
            Self::Ssh(_) => Arc::default(),
        }
    }
}

/// Turns upstream's `ERR` packet into a refusal, with its message escaped.
pub fn refuse_error_packet(line: &[u8], upstream: &Upstream) -> Result<(), Refused> {
    let Some(text) = line.strip_prefix(b"ERR ") else { return Ok(()) };
    let text = crate::escape::escape_for_terminal(crate::pkt::trimmed(text), &upstream.redactor());
    Err(Refused::new(Reason::UpstreamRefused, format!("upstream says: {text}")).place(Place::Upstream))
}

/// The refusal for a response that breaks off or is malformed.
pub fn stream_failure(broken: Broken) -> Refused {
    match broken {
        Broken::Stream(bottle_wire::BodyError::Refused(refused)) => refused,
        Broken::Stream(error) => {
            Refused::new(Reason::UpstreamUnreachable, format!("upstream broke off: {}", Untrusted::new(&error.to_string())))
                .place(Place::Upstream)
        }
        Broken::CutOff => Refused::new(Reason::UpstreamUnreachable, "upstream broke off").place(Place::Upstream),
        Broken::Malformed(why) => protocol(why),
    }
}

fn protocol(why: &str) -> Refused {
    Refused::new(Reason::UpstreamProtocol, format!("upstream does not speak git's protocol: {why}")).place(Place::Upstream)
}

fn unreachable(why: impl std::fmt::Display) -> Refused {
    Refused::new(Reason::UpstreamUnreachable, format!("upstream cannot be reached: {}", Untrusted::new(&why.to_string())))
        .place(Place::Upstream)
}

/// Deadlines towards upstreams.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Tunnel, handshake and login together.
    pub connect: Duration,
    /// Without a byte.
    pub idle: Duration,
}

impl From<&GateLimits> for Timeouts {
    fn from(limits: &GateLimits) -> Self {
        Self { connect: Duration::from_millis(limits.connect_ms), idle: Duration::from_millis(limits.idle_ms) }
    }
}
