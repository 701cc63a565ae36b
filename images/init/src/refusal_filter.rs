//! Which packets of `lo` are refused connections: a program for the kernel's packet filter (Documentation/networking/filter.rst).
//!
//! A connection to a port where nobody listens is answered with RST and ACK, and the sequence number 0, by the address and port that was
//! dialled (RFC 9293, section 3.10.7.1). The reset of a connection that was open has another number.

use std::net::IpAddr;

use libc::sock_filter;

/// Bytes of a packet that are received: both headers, without options.
const MAX_PACKET: u32 = 64;
/// The protocol number of TCP.
const TCP: u32 = 6;
/// RST and ACK, of all flags.
const REFUSED: u32 = 0x14;

/// Where a header has its fields. The kernel's refusals have no options, and no extension headers.
struct Layout {
    /// The first byte, and the bits of it that say version and length.
    begins: (u32, u32),
    protocol: u32,
    source: u32,
    /// Where TCP begins.
    length: u32,
}

const V4: Layout = Layout { begins: (0x45, 0xff), protocol: 9, source: 12, length: 20 };
const V6: Layout = Layout { begins: (0x60, 0xf0), protocol: 6, source: 8, length: 40 };

/// Passes the refusals by these ports of these networks.
pub(crate) fn program(networks: &[(IpAddr, u8)], ports: &[u16]) -> Vec<sock_filter> {
    let mut program: Vec<sock_filter> = networks.iter().flat_map(|(network, prefix)| one(*network, *prefix, ports)).collect();
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0));
    program
}

/// Passes those of one network, and goes on behind its end with all others.
fn one(network: IpAddr, prefix: u8, ports: &[u16]) -> Vec<sock_filter> {
    let (layout, octets) = match network {
        IpAddr::V4(address) => (V4, address.octets().to_vec()),
        IpAddr::V6(address) => (V6, address.octets().to_vec()),
    };
    let (word, half, byte) = (libc::BPF_W, libc::BPF_H, libc::BPF_B);
    let mut tests = vec![
        (byte, 0, layout.begins.1, layout.begins.0),
        (byte, layout.protocol, 0xff, TCP),
        (byte, layout.length + 13, 0xff, REFUSED),
        (word, layout.length + 4, u32::MAX, 0),
    ];
    let words = octets.chunks_exact(4).map(|word| word.iter().fold(0, |all, octet| all << 8 | u32::from(*octet)));
    for (place, value) in (0_u32..).zip(words) {
        let bits = u32::from(prefix).saturating_sub(32 * place).min(32);
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        if mask != 0 {
            tests.push((word, layout.source + 4 * place, mask, value & mask));
        }
    }
    let mut program: Vec<sock_filter> = Vec::new();
    // Of each test: load, mask, compare. Behind them: the port and its comparisons, and the end that passes.
    let ports_at = tests.len() * 3;
    let end = ports_at + 1 + ports.len() + 2;
    for (size, offset, mask, value) in tests {
        program.push(statement(libc::BPF_LD | size | libc::BPF_ABS, offset));
        program.push(statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask));
        program.push(jump(value, 0, end - program.len() - 1));
    }
    program.push(statement(libc::BPF_LD | half | libc::BPF_ABS, layout.length));
    for port in ports {
        program.push(jump(u32::from(*port), end - program.len() - 2, 0));
    }
    program.push(jump(0, 1, 1));
    program.push(statement(libc::BPF_RET | libc::BPF_K, MAX_PACKET));
    program
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or_default(), jt: 0, jf: 0, k }
}

/// Goes on so many instructions further if what was loaded is `value`, or is not.
fn jump(value: u32, equal: usize, other: usize) -> sock_filter {
    let far = |distance: usize| u8::try_from(distance).unwrap_or(u8::MAX);
    let code = u16::try_from(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K).unwrap_or_default();
    sock_filter { code, jt: far(equal), jf: far(other), k: value }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::sys;

    /// A packet with both headers: addresses and ports of the source, flags, sequence number.
    fn packet(source: &str, port: u16, flags: u8, sequence: u32) -> Vec<u8> {
        let mut tcp = [&port.to_be_bytes()[..], &40_000_u16.to_be_bytes(), &sequence.to_be_bytes(), &[0, 0, 0, 1, 0x50, flags]].concat();
        tcp.resize(20, 0);
        let mut header = match source.parse().unwrap() {
            IpAddr::V4(source) => [&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0][..], &source.octets(), &[127, 0, 0, 1]].concat(),
            IpAddr::V6(source) => [&[0x60, 0, 0, 0, 0, 20, 6, 64][..], &source.octets(), &[0; 16]].concat(),
        };
        header.extend(tcp);
        header
    }

    /// What the kernel lets through to a socket with this filter.
    fn received(program: &mut [sock_filter], packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        sys::filter_for_good(theirs.as_fd(), program).unwrap();
        // It cannot be taken away any more.
        assert!(sys::filter_for_good(theirs.as_fd(), &mut [statement(libc::BPF_RET | libc::BPF_K, MAX_PACKET)]).is_err());
        theirs.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        for packet in packets {
            // A packet that is filtered out is an error to a local sender, or is dropped.
            let _ = ours.send(packet);
            let mut buffer = [0; 128];
            all.extend(theirs.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec()));
        }
        all
    }

    #[test]
    fn only_refusals_by_these_ports_of_these_networks_pass() {
        let networks = [("198.19.0.1".parse().unwrap(), 16), ("fd62:6f74:746c:6500::1".parse().unwrap(), 64)];
        let mut filter = program(&networks, &[22, 5432, 27017]);
        let passed: Vec<Vec<u8>> = ["198.19.0.1", "198.19.77.3", "fd62:6f74:746c:6500::9"]
            .iter()
            .flat_map(|source| [22, 5432, 27017].map(|port| packet(source, port, 0x14, 0)))
            .collect();
        let mut packets = passed.clone();
        for source in ["198.19.77.3", "fd62:6f74:746c:6500::9"] {
            packets.extend([
                packet(source, 80, 0x14, 0),
                packet(source, 5433, 0x14, 0),
                packet(source, 22, 0x04, 0),
                packet(source, 22, 0x12, 0),
                packet(source, 22, 0x18, 0),
                packet(source, 22, 0x14, 7),
            ]);
        }
        for source in ["127.0.0.1", "198.18.77.3", "198.20.0.1", "::1", "fd62:6f74:746c:6501::9", "fd62:6f74:746d:6500::9"] {
            packets.push(packet(source, 22, 0x14, 0));
        }
        let mut udp = packet("198.19.77.3", 22, 0x14, 0);
        udp[9] = 17;
        packets.extend([udp, Vec::new(), vec![0x45], packet("198.19.77.3", 22, 0x14, 0)[..30].to_vec()]);
        assert_eq!(received(&mut filter, &packets), passed);
    }
}
