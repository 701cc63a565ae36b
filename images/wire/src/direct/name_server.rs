//! The agent's resolver, over UDP and TCP.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bottle_contract::event::Level;
use bottle_contract::local::MAX_NAMES;
use bottle_contract::reason::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::direct::dns_message::Resolver;
use crate::direct::name_table::Names;
use crate::direct::once_a_minute::{OnceAMinute, Write};
use crate::process::events::Events;

/// Bytes of a question at most: a name, and more extensions than any client sends.
const MAX_QUESTION: usize = 4096;
/// Connections to the resolver at one time. Questions over UDP do not depend on them.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may take to its next whole question, and to take the answer.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait when the kernel cannot receive or accept.
const BACKOFF: Duration = Duration::from_millis(50);

/// A running resolver.
pub(super) struct NameServer {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
    pub(super) answers: Arc<Answers>,
}

/// What both transports share.
pub(super) struct Answers {
    resolver: Resolver,
    names: Arc<Names>,
    events: Events,
    exhausted: Mutex<OnceAMinute<()>>,
}

impl Answers {
    pub(super) fn new(resolver: Resolver, names: Arc<Names>, events: Events) -> Self {
        Self { resolver, names, events, exhausted: Mutex::new(OnceAMinute::new(1)) }
    }

    fn to(&self, question: &[u8]) -> Option<Vec<u8>> {
        self.resolver.answer(question, |name| self.names.assign(name).or_else(|| self.exhausted()))
    }

    /// Writes the event. No name is in it: an agent that floods the table chose it.
    fn exhausted(&self) -> Option<u16> {
        let admitted = self.exhausted.lock().unwrap_or_else(PoisonError::into_inner).admit((), Instant::now());
        if admitted == Write::Yes {
            let mut event = Events::event(Level::Warn, "refused");
            event.reason = Some(Reason::TooMany);
            event.message = Some(format!("{MAX_NAMES} names are in use, so the resolver knows no further one"));
            self.events.write(&event);
        }
        None
    }
}

impl NameServer {
    /// Answers for ever.
    pub(super) async fn serve(self) {
        let Self { udp, tcp, answers } = self;
        tokio::join!(datagrams(udp, &answers), connections(tcp, &answers));
    }
}

async fn datagrams(socket: UdpSocket, answers: &Answers) {
    // One byte more than a question may have: a longer one is cut, and must not be taken for a whole one.
    let mut buffer = vec![0; MAX_QUESTION + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, client)) if length <= MAX_QUESTION => {
                if let Some(answer) = answers.to(&buffer[..length]) {
                    // Whoever asked may have gone.
                    let _ = socket.send_to(&answer, client).await;
                }
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(BACKOFF).await,
        }
    }
}

async fn connections(listener: TcpListener, answers: &Arc<Answers>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Dropped, a surplus connection is closed.
                let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
                let answers = answers.clone();
                tokio::spawn(async move {
                    let _ = conversation(stream, &answers).await;
                    drop(slot);
                });
            }
            Err(_) => tokio::time::sleep(BACKOFF).await,
        }
    }
}

/// Answers one question after the other, each behind its length (RFC 1035, section 4.2.2).
async fn conversation(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    while tokio::time::timeout(EXCHANGE_TIMEOUT, exchange(&mut stream, answers)).await?? {}
    Ok(())
}

/// False if there is no answer to what came, after which nothing can be understood.
async fn exchange(stream: &mut TcpStream, answers: &Answers) -> io::Result<bool> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_QUESTION {
        return Ok(false);
    }
    let mut question = vec![0; length];
    stream.read_exact(&mut question).await?;
    let Some(answer) = answers.to(&question) else { return Ok(false) };
    let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await?;
    Ok(true)
}
