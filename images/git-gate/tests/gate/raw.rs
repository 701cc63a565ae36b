//! A client that says what no git would say: requests byte by byte, packs entry by entry.

use std::io::{Read, Write};
use std::net::TcpStream;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use bottle_git_gate::pkt;
use zlib_rs::{Deflate, DeflateFlush, Status};

use crate::support::*;

pub(crate) const NULL: &str = "0000000000000000000000000000000000000000";

/// Compresses.
pub(crate) fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut deflate = Deflate::new(1, true, 15);
    let mut out = vec![0; bytes.len() + bytes.len() / 100 + 1024];
    assert_eq!(deflate.compress(bytes, &mut out, DeflateFlush::Finish).unwrap(), Status::StreamEnd);
    out.truncate(deflate.total_out() as usize);
    out
}

/// An entry's type and size.
pub(crate) fn entry_head(kind: u8, size: u64) -> Vec<u8> {
    let mut out = vec![kind << 4 | (size & 15) as u8];
    let mut rest = size >> 4;
    while rest > 0 {
        *out.last_mut().unwrap() |= 0x80;
        out.push((rest & 0x7f) as u8);
        rest >>= 7;
    }
    out
}

/// A number as deltas have it.
pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let digit = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(digit);
            return out;
        }
        out.push(digit | 0x80);
    }
}

/// The distance of a delta to its base.
pub(crate) fn distance(mut value: u64) -> Vec<u8> {
    let mut out = vec![(value & 0x7f) as u8];
    while value > 0x7f {
        value = (value >> 7) - 1;
        out.insert(0, (value & 0x7f) as u8 | 0x80);
    }
    out
}

/// A whole entry.
pub(crate) fn entry(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [entry_head(kind, bytes.len() as u64), deflated(bytes)].concat()
}

/// A pack of these entries.
pub(crate) fn pack(entries: &[Vec<u8>]) -> Vec<u8> {
    pack_that_claims(entries.len() as u32, entries)
}

/// A pack that says that it has so many.
pub(crate) fn pack_that_claims(count: u32, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [&b"PACK"[..], &2_u32.to_be_bytes(), &count.to_be_bytes(), &entries.concat()].concat();
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    bytes.extend_from_slice(sum.as_ref());
    bytes
}

/// The commands of a push, and the pack.
pub(crate) fn push_request(commands: &[String], pack: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, command) in commands.iter().enumerate() {
        let capabilities = if n == 0 { "\0report-status side-band-64k" } else { "" };
        pkt::line(&mut out, format!("{command}{capabilities}").as_bytes());
    }
    pkt::flush(&mut out);
    out.extend_from_slice(pack);
    out
}

/// Sends a request and reads all of the answer; the gate may have said it before it heard all.
pub(crate) fn asked(world: &World, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", world.gate.port)).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let head = format!("{head} HTTP/1.1\r\nHost: git-gate:9420\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Pushes a pack as the new branch `agent/raw`.
pub(crate) fn pushed(world: &World, pack: &[u8]) -> String {
    let command = format!("{NULL} {} refs/heads/agent/raw", "1".repeat(40));
    asked(world, "POST /app.git/git-receive-pack", &push_request(&[command], pack))
}
