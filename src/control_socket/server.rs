//! The supervisor's side: the socket, and the clients that are connected. Nothing here waits.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::fs::{AtFlags, Mode, chmodat};
use rustix::net::SocketFlags;
use rustix::net::sockopt::socket_peercred;

use super::connection::Connection;
use super::{FILE, Request, Response};
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE};

/// Clients at one time; one more is turned away.
const MAX_CLIENTS: usize = 16;

/// Names a client for as long as it is connected, and nobody after it.
pub type ClientId = u64;

/// The socket of a running bottle.
#[derive(Debug)]
pub struct Server {
    socket: OwnedFd,
    clients: BTreeMap<ClientId, Connection>,
    last: ClientId,
}

impl Server {
    /// Opens the socket in a bottle's runtime directory, for this user alone.
    pub fn open(runtime: &Dir) -> Result<Self> {
        let open = || -> io::Result<OwnedFd> {
            // Through the descriptor: nobody can put another directory in between.
            let listener = UnixListener::bind(format!("/proc/self/fd/{}/{FILE}", runtime.fd().as_raw_fd()))?;
            chmodat(runtime.fd(), FILE, Mode::from_raw_mode(PRIVATE), AtFlags::empty())?;
            listener.set_nonblocking(true)?;
            Ok(listener.into())
        };
        let socket = open().map_err(|e| {
            Error::failed(
                format!("cannot listen on {}", runtime.path().join(FILE).display()),
                e,
                "see if /proc is mounted, and raise `ulimit -n`",
            )
        })?;
        Ok(Self { socket, clients: BTreeMap::new(), last: 0 })
    }

    /// Readable when somebody connects.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Clients that something may be read from.
    pub fn inputs(&self) -> impl Iterator<Item = (ClientId, BorrowedFd<'_>)> {
        self.clients.iter().filter_map(|(id, client)| Some((*id, client.input()?)))
    }

    /// Clients that something waits for.
    pub fn outputs(&self) -> impl Iterator<Item = (ClientId, BorrowedFd<'_>)> {
        self.clients.iter().filter_map(|(id, client)| Some((*id, client.output()?)))
    }

    /// Takes one client, if it is this user's. The directory lets nobody else come near; root is told apart all the same.
    pub fn accept(&mut self) {
        let Ok(socket) = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) else { return };
        if !socket_peercred(&socket).is_ok_and(|peer| peer.uid == rustix::process::geteuid()) {
            return;
        }
        let mut client = Connection::new(socket);
        if self.clients.len() >= MAX_CLIENTS {
            let cause = format!("{MAX_CLIENTS} commands are connected to it");
            return client.answer(&Response::Failed(Error::failed("the bottle is busy", cause, "try again").into()));
        }
        self.last += 1;
        self.clients.insert(self.last, client);
    }

    /// What a client asks for.
    pub fn read(&mut self, id: ClientId) -> Vec<Request> {
        let requests = self.clients.get_mut(&id).map(Connection::read).unwrap_or_default();
        self.sweep();
        requests
    }

    /// Answers a client, unless it has left.
    pub fn answer(&mut self, id: ClientId, response: &Response) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.answer(response);
        }
        self.sweep();
    }

    /// Sends a client what it takes now.
    pub fn pump(&mut self, id: ClientId) {
        self.clients.get_mut(&id).into_iter().for_each(Connection::pump);
        self.sweep();
    }

    fn sweep(&mut self) {
        self.clients.retain(|_, client| !client.is_over());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::control_socket::frame;

    fn directory() -> (tempfile::TempDir, Dir) {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        (place, dir)
    }

    /// Reads until the client `id` has asked for something.
    fn asked(server: &mut Server, id: ClientId) -> Vec<Request> {
        loop {
            let requests = server.read(id);
            if !requests.is_empty() {
                return requests;
            }
        }
    }

    #[test]
    fn several_clients_are_served_and_one_that_is_slow_holds_up_nobody() {
        let (place, dir) = directory();
        let mut server = Server::open(&dir).unwrap();
        let path = place.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (mut slow, mut quick) = (UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap());
        server.accept();
        server.accept();
        // Nobody else is there.
        server.accept();
        let line = frame::write(&Request::Policy).unwrap();
        slow.write_all(&line[..5]).unwrap();
        quick.write_all(&line).unwrap();
        assert_eq!(server.read(1), []);
        assert_eq!(asked(&mut server, 2), [Request::Policy]);
        let answer = Response::Failed(Error::failed("no", "because", "wait").into());
        server.answer(2, &answer);
        let mut said = String::new();
        BufReader::new(&quick).read_line(&mut said).unwrap();
        assert_eq!(frame::read::<Response>(said.trim_end().as_bytes()), Ok(answer.clone()));
        slow.write_all(&line[5..]).unwrap();
        assert_eq!(asked(&mut server, 1), [Request::Policy]);
        drop((slow, quick));
        while server.inputs().count() > 0 {
            assert_eq!([server.read(1), server.read(2)], [[], []]);
        }
        // One that has left is answered nothing.
        server.answer(1, &answer);
    }

    #[test]
    fn what_is_no_request_is_answered_and_ends_its_connection() {
        let (place, dir) = directory();
        let mut server = Server::open(&dir).unwrap();
        let mut client = UnixStream::connect(place.path().join(FILE)).unwrap();
        server.accept();
        client.write_all(b"GET / HTTP/1.1\n").unwrap();
        while server.inputs().count() > 0 {
            assert_eq!(server.read(1), []);
        }
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("{\"version\":1,\"body\":{\"failed\":{\"what\":\"the bottle does not understand the request\""), "{said}");
    }

    #[test]
    fn one_client_too_many_is_turned_away_with_the_reason() {
        let (place, dir) = directory();
        let mut server = Server::open(&dir).unwrap();
        let connect = || UnixStream::connect(place.path().join(FILE)).unwrap();
        let clients: Vec<_> = (0..MAX_CLIENTS).map(|_| connect()).collect();
        let mut last = connect();
        (0..=MAX_CLIENTS).for_each(|_| server.accept());
        let mut said = String::new();
        last.read_to_string(&mut said).unwrap();
        assert!(said.contains("the bottle is busy"), "{said}");
        assert_eq!(server.inputs().count(), clients.len());
    }
}
