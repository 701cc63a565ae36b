//! Scans a request's head as one text, and maps each finding to its place.

use http::{HeaderMap, HeaderName, Method, Uri};
use percent_encoding::percent_decode_str;

use bottle_scan::{Exempt, Scanner};

use crate::{Leak, Place, signed_url};

/// Each part is on a line of its own, so that the scanner does not join the end of one and the start of the next.
#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    places: Vec<(usize, Place)>,
}

impl Lines {
    fn add(&mut self, place: Place, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        self.places.push((self.text.len(), place));
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
    }

    fn add_target(&mut self, place: Place, raw: &str) {
        self.add(place.clone(), raw.as_bytes());
        if raw.contains(['%', '+']) {
            self.add(place, &percent_decoded(raw));
        }
    }

    /// Joins parts, to find a secret that is split over labels, segments or values.
    fn add_joined<'a>(&mut self, place: Place, parts: impl Iterator<Item = &'a str> + Clone) {
        if parts.clone().filter(|part| !part.is_empty()).nth(1).is_some() {
            self.add(place, parts.collect::<String>().as_bytes());
        }
    }

    fn scan(&self, scanner: &Scanner, exempt: &[Exempt]) -> Result<(), Leak> {
        let Some(finding) = scanner.scan_except(&self.text, exempt) else { return Ok(()) };
        let at = usize::try_from(finding.offset).unwrap_or(usize::MAX);
        let place = self.places.iter().rev().find(|(start, _)| *start <= at).or(self.places.first());
        let place = place.map_or(Place::Head, |(_, place)| place.clone());
        let (_, known) = scanner.tell(&self.text, &finding);
        Err(Leak { rule: finding.rule, place, known: known.map(Box::new) })
    }
}

/// Scans method, host, path, query and headers. `injected` is the header into which the sibling injected the real
/// credential: the only place where it is not a leak.
pub fn scan(scanner: &Scanner, method: &Method, uri: &Uri, headers: &HeaderMap, injected: Option<&HeaderName>) -> Result<(), Leak> {
    let mut lines = Lines { text: Vec::with_capacity(1024), places: Vec::with_capacity(24) };
    // A standard method is not a secret; a custom one may be.
    if !is_ordinary(method) {
        lines.add(Place::Method, method.as_str().as_bytes());
    }
    let host = uri.host().unwrap_or_default();
    lines.add(Place::Host, host.as_bytes());
    lines.add_joined(Place::Host, host.split('.'));
    lines.add_target(Place::Path, uri.path());
    lines.add_joined(Place::Path, uri.path().split('/').skip(1));
    let query = uri.query().unwrap_or_default();
    lines.add_target(Place::Query, query);
    lines.add_joined(Place::Query, query.split(['&', ';']).map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value)));
    for name in headers.keys() {
        // The name is not the place: what was found in it must not be repeated.
        lines.add(Place::HeaderName, name.as_str().as_bytes());
        if Some(name) == injected {
            continue;
        }
        for value in headers.get_all(name) {
            lines.add(Place::Header(name.clone()), value.as_bytes());
        }
    }
    // Custom headers may carry parts of one value.
    let own = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-") && Some(*name) != injected);
    let own: Vec<(&HeaderName, &str)> = own.filter_map(|(name, value)| Some((name, value.to_str().ok()?))).collect();
    if let Some((first, _)) = own.first() {
        lines.add_joined(Place::Header((*first).clone()), own.iter().map(|(_, value)| *value));
    }
    lines.scan(scanner, &signed_url::exemptions(uri))
}

/// Scans the fields behind a body.
pub fn scan_trailers(scanner: &Scanner, trailers: &HeaderMap) -> Result<(), Leak> {
    let mut lines = Lines::default();
    for (name, value) in trailers {
        lines.add(Place::Trailer, name.as_str().as_bytes());
        lines.add(Place::Trailer, value.as_bytes());
    }
    let values: Vec<&str> = trailers.values().filter_map(|value| value.to_str().ok()).collect();
    lines.add_joined(Place::Trailer, values.into_iter());
    lines.scan(scanner, &[])
}

fn is_ordinary(method: &Method) -> bool {
    [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::PATCH, Method::OPTIONS].contains(method)
}

/// `%41` is `A`, `+` is a space; any other `%` stays.
fn percent_decoded(text: &str) -> Vec<u8> {
    percent_decode_str(&text.replace('+', " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bottle's own secret, of no vendor's shape.
    const SECRET: &str = "canary-7Qm2xV9tLw4Rz8Kp1Ns6Yb3Hd5Fg0Jc";

    fn scanner() -> Scanner {
        Scanner::new(bottle_scan::Fingerprints::of([7; 32], &[SECRET.as_bytes()])).unwrap()
    }

    fn place(method: &str, uri: &str, fields: &[(&str, &str)], injected: Option<&str>) -> Option<String> {
        let headers = fields.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let injected = injected.map(|name| name.parse().unwrap());
        let verdict = scan(&scanner(), &method.parse().unwrap(), &uri.parse().unwrap(), &headers, injected.as_ref());
        verdict.err().map(|leak| leak.place.to_string())
    }

    // covers: D01 D11
    #[test]
    fn a_secret_is_found_in_every_part_of_a_head() {
        let s = SECRET;
        let found = |text: &str| Some(text.to_owned());
        assert_eq!(place("GET", &format!("https://a.test/x/{s}"), &[], None), found("path"));
        assert_eq!(place("GET", &format!("https://a.test/x?t={s}&u"), &[], None), found("query"));
        assert_eq!(place("GET", &format!("https://a.test/?t={}", s.replace('-', "%2d").replace('Q', "%51")), &[], None), found("query"));
        assert_eq!(place("GET", &format!("https://{s}.a.test/"), &[], None), found("host"));
        assert_eq!(place("GET", &format!("https://{}.{}.a.test/", &s[..20], &s[20..]), &[], None), found("host"));
        assert_eq!(place(s, "https://a.test/", &[], None), found("method"));
        assert_eq!(place("GET", "https://a.test/", &[("user-agent", &format!("x {s}"))], None), found("header:user-agent"));
        assert_eq!(place("GET", "https://a.test/", &[("cookie", &format!("a=b; s={s}"))], None), found("header:cookie"));
        let (one, two) = s.split_at(15);
        assert_eq!(place("GET", &format!("https://a.test/x/{one}/{two}"), &[], None), found("path"));
        assert_eq!(place("GET", &format!("https://a.test/?a={one}&b={two}"), &[], None), found("query"));
        assert_eq!(place("GET", "https://a.test/", &[("x-a", one), ("accept", "*/*"), ("x-b", two)], None), found("header:x-a"));
        assert_eq!(place("GET", "https://a.test/", &[(&s.to_lowercase(), "1")], None), found("header name"));
        let trailers = [("x-a", one), ("x-b", two)].map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        assert_eq!(scan_trailers(&scanner(), &trailers.into_iter().collect()).err().map(|leak| leak.place.to_string()), found("trailer"));
        assert_eq!(place("GET", "https://a.test/ok?a=b", &[("user-agent", "curl/8"), ("accept", "*/*")], None), None);
    }

    // covers: Y06
    #[test]
    fn the_injected_credential_is_no_leak_in_its_own_header_and_nowhere_else() {
        let bearer = format!("Bearer {SECRET}");
        let sent = |extra: &[(&str, &str)], uri: &str| {
            place("GET", uri, &[&[("authorization", &bearer[..])], extra].concat(), Some("authorization"))
        };
        assert_eq!(sent(&[], "https://a.test/"), None);
        assert_eq!(sent(&[("x-copy", &bearer)], "https://a.test/"), Some("header:x-copy".into()));
        assert_eq!(sent(&[], &format!("https://a.test/?t={SECRET}")), Some("query".into()));
        assert_eq!(place("GET", "https://a.test/", &[("authorization", &bearer)], None), Some("header:authorization".into()));
    }
}
