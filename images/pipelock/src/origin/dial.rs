//! From a host and port to a TCP connection: the addresses that were judged are the addresses that are dialled.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bottle_contract::Reason;
use bottle_contract::host::Host;
use bottle_wire::Refused;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::resolver::Resolve;
use bottle_policy::Place;
use bottle_policy::guard::interfaces::Interfaces;
use bottle_policy::pipelock_policy::{PipelockPolicy, Way};

/// A connection under way.
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Opens TCP connections.
pub trait Dial: Send + Sync + 'static {
    /// Dials exactly this address.
    fn dial(&self, address: SocketAddr) -> Dialling;
}

/// The kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

impl Dial for Kernel {
    fn dial(&self, address: SocketAddr) -> Dialling {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }
}

/// The least time that each of several addresses gets; then the next one is tried.
const MIN_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(250);

/// All that stands between a name and the network.
#[derive(Clone)]
pub struct Dialer {
    /// Names to addresses.
    pub resolve: Arc<dyn Resolve>,
    /// Addresses to connections.
    pub dial: Arc<dyn Dial>,
    /// The machine's own addresses.
    pub interfaces: Arc<dyn Interfaces>,
    /// Where pipelock itself listens, which it never dials.
    pub own: Arc<[SocketAddr]>,
}

/// A connection and how it came about.
#[derive(Debug)]
pub struct TcpConnection {
    /// The connection.
    pub stream: TcpStream,
    /// What was dialled.
    pub address: SocketAddr,
    /// What was dialled is the parent proxy, not the origin.
    pub by_parent: bool,
}

impl Dialer {
    /// Finds the addresses for a host, judges them all, and dials them in turn until `connect_ms` are over.
    pub async fn open(&self, policy: &PipelockPolicy, host: &Host, port: u16) -> Result<TcpConnection, Refused> {
        let deadline = Instant::now() + Duration::from_millis(policy.limits.connect_ms);
        policy.foresee(host, port, &self.local()?)?;
        let way = policy.way(host, port);
        let addresses = match way {
            // A parent resolves names itself; what is an address already was judged all the same.
            Way::Fixed(address) | Way::Parent(address) => vec![address],
            Way::Resolve => {
                let found = match host {
                    Host::Ip(literal) => vec![*literal],
                    Host::Name(name) => self.look_up(name, deadline).await?,
                };
                policy.judge(host, &found, &self.local()?)?;
                found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
            }
        };
        self.refuse_own(&addresses)?;
        let (stream, address) = self.dial_in_turn(&addresses, deadline).await?;
        Ok(TcpConnection { stream, address, by_parent: matches!(way, Way::Parent(_)) })
    }

    async fn look_up(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>, Refused> {
        let failed = |why: String| Refused::new(Reason::NameNotResolved, format!("{name} does not resolve: {why}"));
        let found = tokio::time::timeout_at(deadline, self.resolve.resolve(name)).await;
        let mut found = found.map_err(|_| failed("no answer in time".into()))?.map_err(failed)?;
        found.dedup();
        if found.is_empty() { Err(failed("no addresses".into())) } else { Ok(found) }
    }

    fn local(&self) -> Result<Vec<IpAddr>, Refused> {
        let unknown = || Refused::new(Reason::Internal, "the machine's own addresses cannot be told");
        self.interfaces.addresses().ok_or_else(unknown)
    }

    /// An exception from the guard must not become a loop.
    fn refuse_own(&self, addresses: &[SocketAddr]) -> Result<(), Refused> {
        let local = self.interfaces.addresses().unwrap_or_default();
        let is_own = |address: &SocketAddr| {
            self.own.iter().any(|own| {
                let same_host = own.ip() == address.ip() || (own.ip().is_unspecified() && local.contains(&address.ip()));
                own.port() == address.port() && (same_host || address.ip().is_unspecified())
            })
        };
        match addresses.iter().any(is_own) {
            true => Err(Refused::new(Reason::SelfRequest, "the address is that of the proxy itself")),
            false => Ok(()),
        }
    }

    /// One after the other, each with an equal share of what time is left.
    async fn dial_in_turn(&self, addresses: &[SocketAddr], deadline: Instant) -> Result<(TcpStream, SocketAddr), Refused> {
        let mut last = String::from("no time was left");
        for (position, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let remaining = u32::try_from(addresses.len() - position).unwrap_or(u32::MAX);
            let share = (left / remaining).max(MIN_ATTEMPT_TIMEOUT).min(left);
            last = match tokio::time::timeout(share, self.dial.dial(*address)).await {
                Ok(Ok(stream)) => return Ok((stream, *address)),
                Ok(Err(error)) if error.raw_os_error().is_some_and(is_exhaustion) => {
                    return Err(Refused::new(Reason::TooMany, format!("no more connections can be opened now: {error}")));
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
        }
        Err(Refused::new(Reason::UpstreamUnreachable, format!("the origin cannot be reached: {last}")).place(Place::Upstream))
    }
}

/// The process, or the machine, has no descriptors left.
fn is_exhaustion(errno: i32) -> bool {
    use nix::errno::Errno;
    [Errno::EMFILE as i32, Errno::ENFILE as i32].contains(&errno)
}

#[cfg(test)]
mod tests;
