//! A question to the agent's resolver and its answer, as bytes (RFC 1035, section 4). Pure: whoever calls says which name has which number.
//!
//! Nothing is looked up. A name has an address whether it exists or not; what is behind it is decided once somebody connects.

use std::net::{Ipv4Addr, Ipv6Addr};

use bottle_contract::host::Host;
use bottle_contract::local;
use bottle_policy::own;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Bytes of a header. What is shorter has no id to answer to.
const HEADER: usize = 12;
/// Seconds for which an answer may be cached: far less than a name keeps its address.
const TTL: u32 = 60;
/// The largest datagram that is neither fragmented nor asked for in vain (DNS flag day 2020); no answer here is that large.
const MAX_PAYLOAD: u16 = 1232;
/// Names that must not exist (RFC 6761, section 6.4), which tests of programs rely on.
const INVALID: &str = "invalid";

/// Who answers.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    /// The agent's host name.
    pub(super) own: String,
    /// The agent's network has IPv6.
    pub(super) has_ipv6: bool,
}

/// What is known about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It may have the local addresses of a number.
    Local,
    /// It is the agent's own machine.
    Loopback,
    /// It does not exist.
    Nothing,
}

impl Resolver {
    /// The answer to a request; `None` for what is not even one. `assign` gives a name a number, or says that none is left.
    pub(super) fn answer(&self, request: &[u8], assign: impl FnOnce(&str) -> Option<u16>) -> Option<Vec<u8>> {
        let header = request.get(..HEADER)?;
        // An answer to an answer could go round for ever.
        if header[2] & 0x80 != 0 {
            return None;
        }
        let response = match Message::from_vec(request) {
            Ok(request) => self.response(&request, assign),
            Err(_) => {
                let id = u16::from_be_bytes([header[0], header[1]]);
                Message::error_msg(id, OpCode::from_u8(header[2] >> 3 & 0xf), ResponseCode::FormErr)
            }
        };
        response.to_vec().ok()
    }

    fn response(&self, request: &Message, assign: impl FnOnce(&str) -> Option<u16>) -> Message {
        let mut response = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
        response.metadata.recursion_desired = request.metadata.recursion_desired;
        response.metadata.checking_disabled = request.metadata.checking_disabled;
        response.metadata.recursion_available = true;
        if let [query] = &request.queries[..] {
            response.add_query(query.clone());
        }
        response.metadata.response_code = match (&request.queries[..], request.metadata.op_code) {
            (_, code) if code != OpCode::Query => ResponseCode::NotImp,
            _ if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) => ResponseCode::BADVERS,
            ([query], _) if query.query_class() != DNSClass::IN => ResponseCode::Refused,
            ([query], _) => match self.records(query, assign) {
                Ok(data) => {
                    response.answers = data.into_iter().map(|data| Record::from_rdata(query.name().clone(), TTL, data)).collect();
                    ResponseCode::NoError
                }
                Err(code) => code,
            },
            // Nobody sends more, and no two resolvers read it in the same way (RFC 9619).
            _ => ResponseCode::FormErr,
        };
        if let Some(asked) = &request.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_PAYLOAD);
            edns.set_dnssec_ok(asked.flags().dnssec_ok);
            response.set_edns(edns);
        }
        response
    }

    /// The data that answers a question; none for a type that no name has here.
    fn records(&self, query: &Query, assign: impl FnOnce(&str) -> Option<u16>) -> Result<Option<RData>, ResponseCode> {
        let name = text(query.name());
        let found = match &name {
            Some(name) => self.find(name),
            None if query.name().is_root() => Found::Local,
            None => Found::Nothing,
        };
        let numbered = |name: Option<String>| name.and_then(|name| assign(&name)).ok_or(ResponseCode::ServFail);
        match (found, query.query_type()) {
            (Found::Nothing, _) => Err(ResponseCode::NXDomain),
            (Found::Loopback, RecordType::A) => Ok(Some(RData::A(A(Ipv4Addr::LOCALHOST)))),
            (Found::Loopback, RecordType::AAAA) if self.has_ipv6 => Ok(Some(RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)))),
            // The root has no address. No other type takes a number: what is only asked for leads nowhere.
            (Found::Local, _) if query.name().is_root() => Ok(None),
            (Found::Local, RecordType::A) => numbered(name).map(|number| Some(RData::A(A(local::v4(number))))),
            (Found::Local, RecordType::AAAA) if self.has_ipv6 => numbered(name).map(|number| Some(RData::AAAA(AAAA(local::v6(number))))),
            _ => Ok(None),
        }
    }

    /// What is known about a name in lower case, without a dot at its end.
    fn find(&self, name: &str) -> Found {
        let host = match Host::parse(name) {
            Ok(host @ Host::Name(_)) => host,
            _ => return Found::Nothing,
        };
        let is_below = |top: &str| name == top || name.strip_suffix(top).is_some_and(|rest| rest.ends_with('.'));
        if own::is_loopback(&host) || name == self.own {
            Found::Loopback
        } else if own::is_own(&host, 0) || is_below(INVALID) {
            // The bottle's own names are in /etc/hosts, as far as they are there.
            Found::Nothing
        } else {
            Found::Local
        }
    }
}

/// A name as text in lower case, unless it has a byte that no host name has: a dot inside of a label would make another name of it.
fn text(name: &Name) -> Option<String> {
    let is_plain = |label: &[u8]| label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let labels: Option<Vec<&str>> = name.iter().map(|label| std::str::from_utf8(label).ok().filter(|_| is_plain(label))).collect();
    labels.filter(|labels| !labels.is_empty()).map(|labels| labels.join(".").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESOLVER: fn() -> Resolver = || Resolver { own: "implementer".into(), has_ipv6: true };

    /// A question as bytes, its labels verbatim.
    fn question(labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut bytes = [0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0].to_vec();
        for label in labels {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(*label);
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    fn named(name: &str, kind: u16) -> Vec<u8> {
        question(&name.split('.').map(str::as_bytes).collect::<Vec<_>>(), kind)
    }

    /// The code, and the addresses or the number of records.
    fn said(resolver: &Resolver, request: &[u8]) -> String {
        let Some(bytes) = resolver.answer(request, |_| Some(5)) else { return "nothing".into() };
        let answer = Message::from_vec(&bytes).unwrap();
        let addresses: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
        [vec![answer.metadata.response_code.to_str().to_owned()], addresses].concat().join(" ")
    }

    const TYPE_A: u16 = 1;
    const TYPE_AAAA: u16 = 28;

    #[test]
    fn every_well_formed_name_has_local_addresses_and_nothing_else() {
        let resolver = RESOLVER();
        for name in ["a.test", "A.TeSt", "intranet", "x_y.a-b.example.com", "xn--grn-ioa.test", "sub.egress", "localhost.test"] {
            assert_eq!(said(&resolver, &named(name, TYPE_A)), "No Error 198.19.1.6", "{name}");
            assert_eq!(said(&resolver, &named(name, TYPE_AAAA)), "No Error fd62:6f74:746c:6500::7", "{name}");
            // NS, CNAME, SOA, NULL, PTR, MX, TXT, SRV, HTTPS, ANY, and one that nobody knows.
            for kind in [2, 5, 6, 10, 12, 15, 16, 33, 65, 255, 65_280] {
                let answer = resolver.answer(&named(name, kind), |_| panic!("a number for type {kind}")).unwrap();
                assert_eq!((answer[3] & 0xf, &answer[6..8]), (0, &[0, 0][..]), "{name} {kind}");
            }
        }
        let without = Resolver { has_ipv6: false, ..RESOLVER() };
        assert_eq!(without.answer(&named("a.test", TYPE_AAAA), |_| panic!("no number is needed")).map(|answer| answer[3] & 0xf), Some(0));
    }

    #[test]
    fn the_bottles_own_names_never_get_a_local_address() {
        let resolver = RESOLVER();
        for name in ["localhost", "LOCALHOST", "a.localhost", "a.b.localhost", "implementer"] {
            assert_eq!(said(&resolver, &named(name, TYPE_A)), "No Error 127.0.0.1", "{name}");
            assert_eq!(said(&resolver, &named(name, TYPE_AAAA)), "No Error ::1", "{name}");
        }
        for name in ["egress", "Pipelock", "git-gate", "supervise", "invalid", "a.invalid"] {
            assert_eq!(said(&resolver, &named(name, TYPE_A)), "Non-Existent Domain", "{name}");
        }
    }

    #[test]
    fn a_name_that_is_no_host_name_does_not_exist() {
        let resolver = RESOLVER();
        let labels: [&[&[u8]]; 7] =
            [&[b"a.b", b"test"], &[b"a b"], &[b"\xff\xfe"], &[b"-a", b"test"], &[b"127", b"0", b"0", b"1"], &[b"0x7f"], &[b"a\0", b"test"]];
        for labels in labels {
            assert_eq!(said(&resolver, &question(labels, TYPE_A)), "Non-Existent Domain", "{labels:?}");
        }
        assert_eq!(said(&resolver, &question(&[], TYPE_A)), "No Error");
    }

    // covers: N03
    #[test]
    fn a_name_of_255_bytes_is_answered_and_a_longer_one_is_malformed() {
        let resolver = RESOLVER();
        let label = [b'a'; 63];
        let whole: [&[u8]; 4] = [&label, &label, &label, &label[..61]];
        let request = question(&whole, TYPE_A);
        assert_eq!(request.len(), 12 + 255 + 4);
        assert_eq!(said(&resolver, &request), "No Error 198.19.1.6");
        assert_eq!(said(&resolver, &question(&[&label, &label, &label, &label[..62]], TYPE_A)), "Form Error");
    }

    #[test]
    fn a_question_comes_back_in_the_case_in_which_it_was_asked() {
        let request = named("wWw.ExAmPlE.CoM", TYPE_A);
        let mut assigned = String::new();
        let answer = RESOLVER().answer(&request, |name| {
            assigned = name.to_owned();
            Some(0)
        });
        assert_eq!(answer.unwrap()[12..request.len()], request[12..]);
        assert_eq!(assigned, "www.example.com");
    }

    #[test]
    fn without_a_number_the_answer_is_a_failure_of_the_server() {
        let answer = RESOLVER().answer(&named("a.test", TYPE_A), |_| None).unwrap();
        assert_eq!((answer[3] & 0xf, &answer[6..8]), (2, &[0, 0][..]));
    }

    #[test]
    fn messages_that_ask_nothing_or_in_another_way_get_the_code_for_it() {
        let resolver = RESOLVER();
        let edit = |at: usize, value: u8| {
            let mut request = named("a.test", TYPE_A);
            request[at] = value;
            said(&resolver, &request)
        };
        assert_eq!(edit(2, 0x81), "nothing", "an answer");
        assert_eq!(edit(2, 0x11), "Not Implemented", "a status query");
        assert_eq!(edit(2, 0x29), "Not Implemented", "an update");
        assert_eq!(edit(5, 0), "Form Error", "no question, but bytes of one");
        assert_eq!(edit(5, 2), "Form Error", "two questions, and bytes of one");
        assert_eq!(edit(23, 3), "Query Refused", "CHAOS");
        let request = named("a.test", TYPE_A);
        for length in 0..12 {
            assert_eq!(resolver.answer(&request[..length], |_| Some(0)), None);
        }
        for length in 13..request.len() {
            assert_eq!(said(&resolver, &request[..length]), "Form Error", "{length}");
        }
        // A pointer to itself, and one ahead.
        for pointer in [[0xc0, 12], [0xc0, 200]] {
            let mut request = question(&[], TYPE_A);
            request.splice(12..13, pointer);
            assert_eq!(said(&resolver, &request), "Form Error");
        }
    }

    #[test]
    fn an_extended_question_gets_an_extended_answer_and_a_later_version_a_refusal() {
        let ask = |version: u8| {
            let mut request = named("a.test", TYPE_A);
            request[11] = 1;
            // The root, OPT, 4096 bytes, version, DO, no options.
            request.extend([0, 0, 41, 16, 0, 0, version, 0x80, 0, 0, 0]);
            Message::from_vec(&RESOLVER().answer(&request, |_| Some(5)).unwrap()).unwrap()
        };
        let answer = ask(0);
        let edns = answer.edns.clone().unwrap();
        assert_eq!((edns.version(), edns.max_payload(), edns.flags().dnssec_ok, answer.answers.len()), (0, MAX_PAYLOAD, true, 1));
        let answer = ask(1);
        // 16 is BADVERS here (RFC 6891, section 6.1.3), and BADSIG elsewhere.
        assert_eq!((u16::from(answer.metadata.response_code), answer.answers.len()), (16, 0));
        // Two of them are malformed (RFC 6891, section 6.1.1).
        let mut request = named("a.test", TYPE_A);
        request[11] = 2;
        request.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0].repeat(2));
        assert_eq!(said(&RESOLVER(), &request), "Form Error");
    }

    proptest! {
        /// Hostile bytes: no panic, and whatever comes back is an answer to this id that fits into the smallest datagram, or to a larger question.
        #[test]
        fn whatever_comes_the_answer_is_a_message_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(answer) = RESOLVER().answer(&bytes, |_| Some(1)) {
                prop_assert_eq!(&answer[..2], &bytes[..2]);
                prop_assert!(answer[2] & 0x80 != 0 && Message::from_vec(&answer).is_ok());
                prop_assert!(answer.len() <= bytes.len().max(512) + 64);
            }
        }

        /// The same around a well-formed question, where a parser goes deeper.
        #[test]
        fn a_question_with_changed_bytes_is_no_worse(at in 0usize..40, value in any::<u8>(), tail in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut request = named("www.example.test", TYPE_A);
            let place = at % request.len();
            request[place] = value;
            request.extend(tail);
            if let Some(answer) = RESOLVER().answer(&request, |_| Some(1)) {
                prop_assert!(Message::from_vec(&answer).is_ok());
            }
        }
    }
}
