//! Upstreams: the same two questions over TLS and over SSH, each through a tunnel that pipelock opens.

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
pub use tunnel::Link;

/// How an upstream is reached and spoken to.
pub enum Upstream {
    /// Smart HTTP.
    Https(https::Https),
    /// The same services over SSH.
    Ssh(Box<ssh::Ssh>),
}

impl Upstream {
    /// Reads what is needed to speak to it, credentials too.
    pub fn new(remote: &Remote, link: &Arc<Link>, tls: &TlsConnector, secrets: &Path) -> anyhow::Result<Self> {
        Ok(match remote {
            Remote::Https { host, port, path, auth } => {
                Self::Https(https::Https::new(link.clone(), tls.clone(), host.clone(), *port, path, auth.as_ref(), secrets)?)
            }
            Remote::Ssh { host, port, user, path, host_key, identity } => {
                Self::Ssh(Box::new(ssh::Ssh::new(link.clone(), host.clone(), *port, user, path, host_key, identity, secrets)?))
            }
        })
    }

    /// Its advertisement for a service, from the first packet that is part of it. `version` is what the client asks for.
    pub async fn advertisement(&self, service: Service, version: u8) -> Result<Packets, Refused> {
        match self {
            Self::Https(https) => https.advertisement(service, version).await,
            Self::Ssh(ssh) => Ok(Packets::new(ssh.run(service, version, bottle_wire::body::full("0000")).await?)),
        }
    }

    /// Its answer to a request.
    pub async fn answer(&self, service: Service, version: u8, request: Body) -> Result<Packets, Refused> {
        match self {
            Self::Https(https) => https.answer(service, version, request).await,
            Self::Ssh(ssh) => {
                let mut packets = Packets::new(ssh.run(service, version, request).await?);
                // Over SSH every conversation begins with the advertisement.
                loop {
                    match packets.next().await.map_err(broke_here)? {
                        Some(Packet::Data(line)) => refuse_error(&line, self)?,
                        Some(Packet::Flush) => return Ok(packets),
                        Some(_) => return Err(protocol("a mark where an advertisement should be")),
                        None => return Err(protocol("no advertisement")),
                    }
                }
            }
        }
    }

    /// What must not reach the agent, should upstream repeat it.
    pub fn hidden(&self) -> Arc<Redactor> {
        match self {
            Self::Https(https) => https.hidden(),
            Self::Ssh(_) => Arc::default(),
        }
    }
}

/// Upstream's own refusal, in its own words, made harmless.
pub fn refuse_error(line: &[u8], upstream: &Upstream) -> Result<(), Refused> {
    let Some(words) = line.strip_prefix(b"ERR ") else { return Ok(()) };
    let words = crate::harmless::one_line(crate::pkt::trimmed(words), &upstream.hidden());
    Err(Refused::new(Reason::UpstreamRefused, format!("upstream says: {words}")).place(Place::Upstream))
}

/// What is wrong with an answer that is no packets.
pub fn broke_here(broken: Broken) -> Refused {
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
pub struct Patience {
    /// Tunnel, handshake and login together.
    pub connect: Duration,
    /// Without a byte.
    pub idle: Duration,
}

impl From<&GateLimits> for Patience {
    fn from(limits: &GateLimits) -> Self {
        Self { connect: Duration::from_millis(limits.connect_ms), idle: Duration::from_millis(limits.idle_ms) }
    }
}
