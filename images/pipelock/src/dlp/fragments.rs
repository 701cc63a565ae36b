//! The trail of what a bottle has sent: small values of this request, joined to those of the requests before it.

use std::sync::{Arc, Mutex, PoisonError};

use bottle_contract::Reason;
use bottle_policy::{Place, signed_url};
use bottle_scan::{MAX_FRAGMENT, Scanner, Trail};
use bottle_wire::Refused;
use http::{HeaderMap, HeaderName, Uri};

/// A body up to here is looked at for small values.
pub const MAX_SMALL_BODY: usize = 512;

/// Fields that say nothing of an agent's own choice, or that change with every message.
const PLAIN: [&str; 8] =
    ["host", "accept", "accept-encoding", "accept-language", "content-type", "content-length", "content-encoding", "date"];

/// Values, each with the name of its place. Most are those of the request before, so that the names are only compared: they stand
/// in one text.
pub struct Fragments<'r> {
    names: String,
    /// Where the name ends, and the value.
    values: Vec<(usize, &'r [u8])>,
}

impl Default for Fragments<'_> {
    /// With room for those of a usual request.
    fn default() -> Self {
        Self { names: String::with_capacity(256), values: Vec::with_capacity(16) }
    }
}

impl<'r> Fragments<'r> {
    /// Adds one that may be a fragment, of the place `part` and `which`.
    pub fn add(&mut self, part: &str, which: &str, value: &'r [u8]) {
        if !value.is_empty() && value.len() <= MAX_FRAGMENT {
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
    pub fn follow(&self, scanner: &Scanner, fragments: &Fragments<'_>) -> Result<(), Refused> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).add(scanner, fragments.iter());
        let Some((place, finding)) = found else { return Ok(()) };
        let message = "bottle refused to send this: with what was sent before, it completes something that looks like a credential";
        Err(Refused::new(Reason::SecretDetected, message).rule(finding.rule).place(Place::Fragment(place)))
    }
}

/// The small values of a request. `values` is what its body says, `injected` the field that the sibling put in.
pub fn fragments<'r>(uri: &'r Uri, headers: &'r HeaderMap, injected: Option<&HeaderName>, values: &'r [Vec<u8>]) -> Fragments<'r> {
    let mut fragments = Fragments::default();
    fragments.add_each("host:", uri.host().unwrap_or_default().as_bytes().split(|b| *b == b'.'));
    fragments.add_each("path:", uri.path().as_bytes().split(|b| *b == b'/').skip(1));
    let query = uri.query().unwrap_or_default();
    for pair in query.split(['&', ';']) {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let value = signed_url::behind_id(query, name, value);
        fragments.add("query:", name, value.as_bytes());
        // A secret may stand in names as well, or take another name for each fragment.
        fragments.add("query names", "", name.as_bytes());
        fragments.add("query values", "", value.as_bytes());
    }
    for (name, value) in headers.iter().filter(|(name, _)| Some(*name) != injected && !PLAIN.contains(&name.as_str())) {
        fragments.add("header:", name.as_str(), value.as_bytes());
    }
    fragments.add_each("body:", values.iter().map(Vec::as_slice));
    fragments
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
            let refused = trails.follow(&scanner, &fragments(&uri, &headers, None, &[])).err()?;
            assert_eq!(refused.reason, Reason::SecretDetected);
            Some((number, refused.place.unwrap().to_string()))
        })
    }

    // covers: V13 A03
    #[test]
    fn signed_urls_one_after_another_complete_nothing_and_carry_no_pieces() {
        let signed = |credential: &str| {
            let query = format!("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Signature=00");
            (format!("https://s3.test/o?{query}"), vec![])
        };
        let ids = ["AKIAQ7XW2MVB5ZT4RK6L", "ASIAB2MV3ZT4RK6LQ7XW", "AKIAZT4RK6LQ7XWB2MV3"];
        assert_eq!(send(ids.iter().map(|id| signed(&format!("{id}%2F20260101%2Fs3")))), None);
        let pieces: Vec<&str> = [&SECRET[..19], &SECRET[19..]].to_vec();
        assert_eq!(send(pieces.iter().map(|piece| signed(piece))).map(|(number, _)| number), Some(1));
    }

    // covers: D04
    #[test]
    fn a_secret_in_pieces_over_requests_hosts_and_fields_is_not_completed() {
        type Carry = fn(&str, usize) -> (String, Vec<(String, String)>);
        let ways: [(&str, Carry); 7] = [
            ("host:0", |fragment, _| (format!("https://{fragment}x.a.test/").replace("x.a", ".a"), vec![])),
            ("path:1", |fragment, n| (format!("https://h{n}.test/log/{fragment}/x"), vec![])),
            ("query:d", |fragment, n| (format!("https://h{n}.test/?d={fragment}&n={n}"), vec![])),
            ("query values", |fragment, n| (format!("https://a.test/?k{n}={fragment}"), vec![])),
            ("query names", |fragment, _| (format!("https://a.test/?{fragment}=1"), vec![])),
            ("header:user-agent", |fragment, _| ("https://a.test/".into(), vec![("user-agent".into(), fragment.into())])),
            ("header:cookie", |fragment, _| ("https://a.test/".into(), vec![("cookie".into(), fragment.into())])),
        ];
        // Host names know no case; what they carry is hexadecimal.
        let hex: String = SECRET.bytes().map(|b| format!("{b:02x}")).collect();
        for (place, carry) in ways {
            for size in [1, 2, 5, 15, 30] {
                let text = if place.starts_with("host") { &hex } else { SECRET };
                let fragments: Vec<&str> = text.as_bytes().chunks(size).map(|fragment| std::str::from_utf8(fragment).unwrap()).collect();
                let found = send(fragments.iter().enumerate().map(|(number, fragment)| carry(fragment, number)));
                // A fragment that repeats the one before it counts once: such a text is not found.
                if fragments.windows(2).all(|two| two[0] != two[1]) {
                    assert_eq!(found, Some((fragments.len() - 1, place.to_owned())), "{place} in fragments of {size}");
                }
            }
        }
    }
}
