//! The trail of what a bottle has sent: small values of this request, joined to those of the requests before it.

use std::sync::{Arc, Mutex, PoisonError};

use bottle_contract::Reason;
use bottle_scan::{LONGEST_PIECE, Scanner, Trail};
use bottle_wire::Refused;
use http::{HeaderMap, HeaderName, Uri};

/// A body up to here is looked at for small values.
pub const SMALL: usize = 512;

/// Fields that say nothing of an agent's own choice, or that change with every message.
const PLAIN: [&str; 8] =
    ["host", "accept", "accept-encoding", "accept-language", "content-type", "content-length", "content-encoding", "date"];

/// Values, each with the name of its place. Most are those of the request before, so that the names are only compared: they stand
/// in one text.
pub struct Pieces<'r> {
    names: String,
    /// Where the name ends, and the value.
    values: Vec<(usize, &'r [u8])>,
}

impl Default for Pieces<'_> {
    /// With room for those of a usual request.
    fn default() -> Self {
        Self { names: String::with_capacity(256), values: Vec::with_capacity(16) }
    }
}

impl<'r> Pieces<'r> {
    /// Adds one that may be a piece, of the place `part` and `which`.
    pub fn add(&mut self, part: &str, which: &str, value: &'r [u8]) {
        if !value.is_empty() && value.len() <= LONGEST_PIECE {
            self.names.extend([part, which]);
            self.values.push((self.names.len(), value));
        }
    }

    /// Adds those of a sequence, each by its number.
    pub fn add_each(&mut self, part: &str, values: impl Iterator<Item = &'r [u8]>) {
        for (value, number) in values.zip(0_u32..) {
            match char::from_digit(number, 10) {
                Some(digit) => self.add(part, digit.encode_utf8(&mut [0; 4]), value),
                None => self.add(part, &number.to_string(), value),
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &'r [u8])> {
        let mut start = 0;
        self.values.iter().map(move |&(end, value)| (&self.names[std::mem::replace(&mut start, end)..end], value))
    }
}

/// One bottle's trail, which all its requests share.
#[derive(Clone, Debug, Default)]
pub struct Trails(Arc<Mutex<Trail>>);

impl Trails {
    /// Adds the values of one request; refuses it if they complete something.
    pub fn follow(&self, scanner: &Scanner, pieces: &Pieces<'_>) -> Result<(), Refused> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).add(scanner, pieces.iter());
        let Some((place, finding)) = found else { return Ok(()) };
        let message = "bottle refused to send this: with what was sent before, it completes something that looks like a credential";
        Err(Refused::new(Reason::SecretDetected, message).rule(finding.rule).place(place))
    }
}

/// The small values of a request. `said` is what its body says, `injected` the field that the sibling put in.
pub fn pieces<'r>(uri: &'r Uri, headers: &'r HeaderMap, injected: Option<&HeaderName>, said: &'r [Vec<u8>]) -> Pieces<'r> {
    let mut pieces = Pieces::default();
    pieces.add_each("host:", uri.host().unwrap_or_default().as_bytes().split(|b| *b == b'.'));
    pieces.add_each("path:", uri.path().as_bytes().split(|b| *b == b'/').skip(1));
    for pair in uri.query().into_iter().flat_map(|query| query.split(['&', ';'])) {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        pieces.add("query:", name, value.as_bytes());
        // A secret may stand in names as well, or take another name for each piece.
        pieces.add("query names", "", name.as_bytes());
        pieces.add("query values", "", value.as_bytes());
    }
    for (name, value) in headers.iter().filter(|(name, _)| Some(*name) != injected && !PLAIN.contains(&name.as_str())) {
        pieces.add("header:", name.as_str(), value.as_bytes());
    }
    pieces.add_each("body:", said.iter().map(Vec::as_slice));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SECRET, scanner};

    /// Sends each target in turn; the number of the one that is refused, and the place.
    fn send(requests: impl Iterator<Item = (String, Vec<(String, String)>)>) -> Option<(usize, String)> {
        let (trails, scanner) = (Trails::default(), scanner());
        requests.enumerate().find_map(|(number, (uri, fields))| {
            let uri: Uri = uri.parse().unwrap();
            let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let refused = trails.follow(&scanner, &pieces(&uri, &headers, None, &[])).err()?;
            assert_eq!(refused.reason, Reason::SecretDetected);
            Some((number, refused.place.unwrap()))
        })
    }

    // covers: D04
    #[test]
    fn a_secret_in_pieces_over_requests_hosts_and_fields_is_not_completed() {
        type Carry = fn(&str, usize) -> (String, Vec<(String, String)>);
        let ways: [(&str, Carry); 7] = [
            ("host:0", |piece, _| (format!("https://{piece}x.a.test/").replace("x.a", ".a"), vec![])),
            ("path:1", |piece, n| (format!("https://h{n}.test/log/{piece}/x"), vec![])),
            ("query:d", |piece, n| (format!("https://h{n}.test/?d={piece}&n={n}"), vec![])),
            ("query values", |piece, n| (format!("https://a.test/?k{n}={piece}"), vec![])),
            ("query names", |piece, _| (format!("https://a.test/?{piece}=1"), vec![])),
            ("header:user-agent", |piece, _| ("https://a.test/".into(), vec![("user-agent".into(), piece.into())])),
            ("header:cookie", |piece, _| ("https://a.test/".into(), vec![("cookie".into(), piece.into())])),
        ];
        // Host names know no case; what they carry is hexadecimal.
        let hex: String = SECRET.bytes().map(|b| format!("{b:02x}")).collect();
        for (place, carry) in ways {
            for size in [1, 2, 5, 15, 30] {
                let text = if place.starts_with("host") { &hex } else { SECRET };
                let pieces: Vec<&str> = text.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
                let found = send(pieces.iter().enumerate().map(|(number, piece)| carry(piece, number)));
                // A piece that repeats the one before it counts once: such a text is not found.
                if pieces.windows(2).all(|two| two[0] != two[1]) {
                    assert_eq!(found, Some((pieces.len() - 1, place.to_owned())), "{place} in pieces of {size}");
                }
            }
        }
    }
}
