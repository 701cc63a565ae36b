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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bottle_contract::event::Event;

    use super::*;

    /// A query for the address of `a.test`.
    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";

    struct Lab {
        udp: UdpSocket,
        tcp: std::net::SocketAddr,
        names: Arc<Names>,
        events: mpsc::Receiver<Event>,
    }

    async fn lab() -> Lab {
        let (events, written) = Events::captured();
        let names = Arc::new(Names::default());
        let resolver = Resolver { own: "implementer".into(), has_ipv6: true };
        let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(udp.local_addr().unwrap()).await.unwrap();
        let lab = Lab { udp: client, tcp: tcp.local_addr().unwrap(), names: names.clone(), events: written };
        tokio::spawn(NameServer { udp, tcp, answers: Arc::new(Answers::new(resolver, names, events)) }.serve());
        lab
    }

    impl Lab {
        async fn ask(&self, question: &[u8]) -> Vec<u8> {
            self.udp.send(question).await.unwrap();
            let mut buffer = [0; 1024];
            let length = self.udp.recv(&mut buffer).await.unwrap();
            buffer[..length].to_vec()
        }
    }

    fn framed(question: &[u8]) -> Vec<u8> {
        [&u16::try_from(question.len()).unwrap().to_be_bytes()[..], question].concat()
    }

    #[tokio::test]
    async fn both_transports_give_the_same_answer_and_hostile_bytes_end_neither() {
        let lab = lab().await;
        lab.udp.send(&[0xff; MAX_QUESTION + 100]).await.unwrap();
        lab.udp.send(b"").await.unwrap();
        let answer = lab.ask(QUESTION).await;
        assert_eq!(answer[answer.len() - 4..], [198, 19, 1, 1]);
        let mut stream = TcpStream::connect(lab.tcp).await.unwrap();
        // Two at once, one of them in pieces.
        stream.write_all(&[framed(QUESTION), framed(QUESTION)[..9].to_vec()].concat()).await.unwrap();
        let mut both = vec![0; 2 * (answer.len() + 2)];
        stream.read_exact(&mut both[..answer.len() + 2]).await.unwrap();
        stream.write_all(&framed(QUESTION)[9..]).await.unwrap();
        stream.read_exact(&mut both[answer.len() + 2..]).await.unwrap();
        assert_eq!(both, framed(&answer).repeat(2));
        // What is too long, or no question, ends the connection.
        for bytes in [&[0xff, 0xff][..], &framed(b"\0\0\x80\0\0\0\0\0\0\0\0\0"), &framed(b"short")] {
            let mut stream = TcpStream::connect(lab.tcp).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
        }
    }

    #[tokio::test]
    async fn connections_that_say_nothing_neither_block_questions_nor_stay() {
        let lab = lab().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(lab.tcp).await.unwrap();
            stream.write_all(&[0]).await.unwrap();
            silent.push(stream);
        }
        let mut surplus = TcpStream::connect(lab.tcp).await.unwrap();
        assert_eq!(surplus.read(&mut [0; 8]).await.unwrap_or(0), 0);
        assert_eq!(lab.ask(QUESTION).await[3] & 0xf, 0);
        // Time goes on by itself once nobody has anything to do.
        tokio::time::pause();
        for mut stream in silent {
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
        }
        tokio::time::resume();
        let mut stream = TcpStream::connect(lab.tcp).await.unwrap();
        stream.write_all(&framed(QUESTION)).await.unwrap();
        assert!(stream.read_u16().await.unwrap() > 12);
    }

    #[tokio::test]
    async fn when_every_name_is_in_use_the_server_fails_and_says_so_once() {
        let lab = lab().await;
        for n in 0..MAX_NAMES {
            assert_eq!(lab.names.assign(&format!("n{n}.test")), Some(n));
        }
        for _ in 0..3 {
            let answer = lab.ask(QUESTION).await;
            assert_eq!((answer[3] & 0xf, &answer[6..8]), (2, &[0, 0][..]));
        }
        let event = lab.events.try_recv().unwrap();
        assert_eq!((event.event.as_str(), event.reason, event.origin), ("refused", Some(Reason::TooMany), None));
        assert!(lab.events.try_recv().is_err());
    }
}
