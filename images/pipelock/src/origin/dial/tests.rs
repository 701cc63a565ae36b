//! Which addresses are dialled for which answers; no packet leaves, as both the resolver and the dialler are stubs.

use std::collections::HashMap;
use std::sync::Mutex;

use bottle_contract::pipelock::{Connect, Parent, PipelockConfig};

use super::*;
use crate::origin::resolver::Lookup;
use crate::testing;

/// Answers each name from a list of answers, one after the other, and remembers who asked.
#[derive(Default)]
struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> Lookup<'a> {
        self.asked.lock().unwrap().push(name.to_owned());
        let answer = match self.answers.lock().unwrap().get_mut(name) {
            Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
            Some(answers) => Ok(answers[0].clone()),
            None => Err("no such name".to_owned()),
        };
        Box::pin(async { answer })
    }
}

/// Remembers what was dialled. Addresses in `live` answer, by a connection to a loopback listener; others refuse, or
/// are silent if they are in `silent`.
#[derive(Default)]
struct Wire {
    dialled: Mutex<Vec<SocketAddr>>,
    live: Vec<IpAddr>,
    silent: Vec<IpAddr>,
    errno: Option<i32>,
}

impl Dial for Wire {
    fn dial(&self, address: SocketAddr) -> Dialling {
        self.dialled.lock().unwrap().push(address);
        let (live, silent, errno) = (self.live.contains(&address.ip()), self.silent.contains(&address.ip()), self.errno);
        Box::pin(async move {
            if silent {
                std::future::pending::<()>().await;
            }
            if !live {
                return Err(errno.map_or(io::ErrorKind::ConnectionRefused.into(), io::Error::from_raw_os_error));
            }
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            TcpStream::connect(listener.local_addr()?).await
        })
    }
}

struct Local(Vec<IpAddr>);
impl Interfaces for Local {
    fn addresses(&self) -> Option<Vec<IpAddr>> {
        Some(self.0.clone())
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// One attempt to open a connection, and all that it touched.
struct Scene {
    names: Arc<Names>,
    wire: Arc<Wire>,
    dialer: Dialer,
    policy: PipelockPolicy,
}

fn scene(answers: &[(&str, &[&[&str]])], wire: Wire, edit: impl FnOnce(&mut PipelockConfig)) -> Scene {
    let answers = answers.iter().map(|(name, sets)| {
        let sets = sets.iter().map(|set| set.iter().map(|a| ip(a)).collect()).collect();
        ((*name).to_owned(), sets)
    });
    let names = Arc::new(Names { answers: Mutex::new(answers.collect()), ..Names::default() });
    let wire = Arc::new(wire);
    let mut config = testing::config(&["*"]);
    config.x_bottle.limits.connect_ms = 2_000;
    edit(&mut config);
    let dialer = Dialer {
        resolve: names.clone(),
        dial: wire.clone(),
        interfaces: Arc::new(Local(vec![ip("127.0.0.1"), ip("8.8.4.4")])),
        own: Arc::new(["0.0.0.0:8888".parse().unwrap()]),
    };
    Scene { names, wire, dialer, policy: PipelockPolicy::new(config).unwrap() }
}

impl Scene {
    async fn open(&self, host: &str) -> Result<SocketAddr, Reason> {
        let host = Host::parse(host).unwrap();
        self.dialer.open(&self.policy, &host, 443).await.map(|dialled| dialled.address).map_err(|refused| refused.reason)
    }

    fn dialled(&self) -> Vec<String> {
        self.wire.dialled.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

fn live(addresses: &[&str]) -> Wire {
    Wire { live: addresses.iter().map(|a| ip(a)).collect(), ..Wire::default() }
}

// covers: N09
#[tokio::test]
async fn the_address_that_was_judged_is_the_one_that_is_dialled() {
    let scene = scene(&[("rebind.test", &[&["9.9.9.9"], &["127.0.0.1"]])], live(&["9.9.9.9", "127.0.0.1"]), |_| {});
    assert_eq!(scene.open("rebind.test").await, Ok("9.9.9.9:443".parse().unwrap()));
    assert_eq!(scene.open("rebind.test").await, Err(Reason::AddressNotPublic), "the second answer is judged anew");
    assert_eq!(scene.dialled(), ["9.9.9.9:443"]);
    assert_eq!(scene.names.asked.lock().unwrap().len(), 2, "one resolution for each connection");
}

// covers: N06 N08 N09
#[tokio::test]
async fn one_address_that_is_not_public_spoils_the_answer() {
    for (set, reason) in [
        (&["9.9.9.9", "10.0.0.1"][..], Reason::AddressNotPublic),
        (&["2620:fe::fe", "::1"], Reason::AddressNotPublic),
        (&["9.9.9.9", "::ffff:127.0.0.1"], Reason::AddressNotPublic),
        (&["9.9.9.9", "64:ff9b::a9fe:a9fe"], Reason::MetadataAddress),
        (&["10.0.0.1", "169.254.169.254"], Reason::MetadataAddress),
        (&["8.8.4.4"], Reason::AddressNotPublic),
    ] {
        let scene = scene(&[("mixed.test", &[set])], live(&["9.9.9.9"]), |_| {});
        assert_eq!(scene.open("mixed.test").await, Err(reason), "{set:?}");
        assert!(scene.dialled().is_empty());
    }
}

// covers: N07
#[tokio::test]
async fn a_literal_address_is_judged_like_the_answer_to_a_name() {
    for literal in ["127.0.0.1", "127.0.0.1.", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "0.0.0.0", "[::]"] {
        let scene = scene(&[], live(&[]), |_| {});
        assert_eq!(scene.open(literal).await, Err(Reason::AddressNotPublic), "{literal}");
        assert!(scene.dialled().is_empty() && scene.names.asked.lock().unwrap().is_empty());
    }
    for name in ["localhost", "localhost.", "ip6-localhost"] {
        let set: &[&[&str]] = &[&["127.0.0.1", "::1"]];
        let scene = scene(&[("localhost", set), ("ip6-localhost", set)], live(&[]), |_| {});
        assert_eq!(scene.open(name).await, Err(Reason::AddressNotPublic), "{name}");
    }
    let scene = scene(&[], live(&["9.9.9.9"]), |_| {});
    assert_eq!(scene.open("9.9.9.9").await, Ok("9.9.9.9:443".parse().unwrap()));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_apart_from_one_that_does_not_answer() {
    let scene = scene(&[("dead.test", &[&["9.9.9.9", "149.112.112.112"]]), ("empty.test", &[&[]])], live(&[]), |_| {});
    assert_eq!(scene.open("gone.test").await, Err(Reason::NameNotResolved));
    assert_eq!(scene.open("empty.test").await, Err(Reason::NameNotResolved));
    assert_eq!(scene.open("dead.test").await, Err(Reason::UpstreamUnreachable));
    assert_eq!(scene.dialled(), ["9.9.9.9:443", "149.112.112.112:443"]);
}

// covers: N19
#[tokio::test(start_paused = true)]
async fn a_silent_address_costs_its_share_of_the_time_and_no_more() {
    let wire = Wire { silent: vec![ip("9.9.9.9")], ..live(&["149.112.112.112"]) };
    let first = scene(&[("slow.test", &[&["9.9.9.9", "149.112.112.112"]])], wire, |_| {});
    let start = Instant::now();
    assert_eq!(first.open("slow.test").await, Ok("149.112.112.112:443".parse().unwrap()));
    assert_eq!(start.elapsed(), Duration::from_secs(1));

    let wire = Wire { silent: vec![ip("9.9.9.9")], ..Wire::default() };
    let hole = scene(&[("hole.test", &[&["9.9.9.9"]])], wire, |_| {});
    let start = Instant::now();
    assert_eq!(hole.open("hole.test").await, Err(Reason::UpstreamUnreachable));
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test]
async fn a_fixed_address_is_dialled_without_a_lookup() {
    let fixed = |config: &mut PipelockConfig| {
        config.x_bottle.connect = vec![Connect { host: "*.lab.test".parse().unwrap(), address: "10.1.2.3:8443".parse().unwrap() }];
    };
    let scene = scene(&[], live(&["10.1.2.3"]), fixed);
    assert_eq!(scene.open("a.lab.test").await, Ok("10.1.2.3:8443".parse().unwrap()));
    assert_eq!(scene.open("lab.test").await, Err(Reason::NameNotResolved));
    assert_eq!(*scene.names.asked.lock().unwrap(), ["lab.test"]);
}

// covers: N06 N15
#[tokio::test]
async fn no_exception_leads_to_metadata_or_back_to_the_proxy() {
    for (address, reason) in [
        ("169.254.169.254:80", Reason::MetadataAddress),
        ("[::ffff:169.254.169.254]:80", Reason::MetadataAddress),
        ("127.0.0.1:8888", Reason::SelfRequest),
        ("0.0.0.0:8888", Reason::SelfRequest),
        ("8.8.4.4:8888", Reason::SelfRequest),
    ] {
        let fixed = |config: &mut PipelockConfig| {
            config.ssrf.ip_allowlist = vec!["0.0.0.0/0".into(), "::/0".into()];
            config.x_bottle.connect = vec![Connect { host: "*".parse().unwrap(), address: address.parse().unwrap() }];
        };
        let scene = scene(&[], live(&["127.0.0.1"]), fixed);
        assert_eq!(scene.open("a.test").await, Err(reason), "{address}");
        assert!(scene.dialled().is_empty());
    }
}

#[tokio::test]
async fn the_parent_is_dialled_in_place_of_the_origin_and_resolves_in_its_place() {
    let parent = |config: &mut PipelockConfig| {
        config.x_bottle.parent = Some(Parent { address: "10.9.9.9:3128".parse().unwrap(), ca: None });
    };
    let scene = scene(&[], live(&["10.9.9.9"]), parent);
    assert_eq!(scene.open("a.test").await, Ok("10.9.9.9:3128".parse().unwrap()));
    assert_eq!(scene.open("10.0.0.1").await, Err(Reason::AddressNotPublic));
    assert_eq!(scene.open("169.254.169.254").await, Err(Reason::MetadataAddress));
    assert!(scene.names.asked.lock().unwrap().is_empty());
}

// covers: X08
#[tokio::test]
async fn without_a_descriptor_the_request_is_refused_and_no_other_way_is_tried() {
    let wire = Wire { errno: Some(nix::errno::Errno::EMFILE as i32), ..Wire::default() };
    let scene = scene(&[("a.test", &[&["9.9.9.9", "149.112.112.112"]])], wire, |_| {});
    assert_eq!(scene.open("a.test").await, Err(Reason::TooMany));
    assert_eq!(scene.dialled(), ["9.9.9.9:443"]);
}
