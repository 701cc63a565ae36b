//! Manifests that are refused, and with which three lines.

use std::time::Duration;

use bottle::manifest::model::{Supervise, Unattended};
use bottle_contract::gate::PushPolicy;

use crate::manifest::{assert_refused, bottle, library, refused};

// covers: F19
#[test]
fn a_key_that_nobody_knows_is_an_error_on_every_level() {
    let hint = |expected: &str| format!("known here: {expected}");
    for (yaml, cause, hint) in [
        ("zzz: 1", "2:1: unknown key `zzz`", hint("extends, env, egress, git, supervise, scan, limits, rootfs, tools, workspace, backend")),
        ("limit: { pids: 1 }", "2:1: unknown key `limit`", "did you mean `limits`?".into()),
        ("egress:\n  zzz: 1", "3:3: unknown key `zzz`", hint("presets, routes, default, replace, trust, proxy")),
        (
            "egress:\n  routes:\n    - host: a.test\n      methods: [GET]",
            "5:7: unknown key `methods`",
            hint("host, matches, auth, connect, on_secret, ask"),
        ),
        (
            "egress:\n  routes:\n    - host: a.test\n      matches:\n        - method: [GET]",
            "6:11: unknown key `method`",
            "did you mean `methods`?".into(),
        ),
        (
            "egress: { routes: [{ host: a.test, auth: { token_ref: A, token: ghp } }] }",
            "2:58: unknown key `token`",
            hint("header, scheme, token_ref, token_file, token_command, login"),
        ),
        ("egress: { proxy: { address: \"192.0.2.1:1\", cert: x } }", "2:44: unknown key `cert`", hint("address, ca")),
        ("scan: { rule: [x] }", "2:9: unknown key `rule`", "did you mean `rules`?".into()),
        (
            "scan: { allow: [ab] }",
            "2:17: not a SHA-256",
            "write the 64 hexadecimal digits that `bottle explain` shows for the value".into(),
        ),
        ("limits: { cpu: 1 }", "2:11: unknown key `cpu`", hint("memory, scratch, pids, time")),
        ("git: { repo: [] }", "2:8: unknown key `repo`", "did you mean `repos`?".into()),
        ("rootfs: { imag: x }", "2:11: unknown value `imag`", "did you mean `image`?".into()),
        (
            "\"\\e[2J\": 1",
            "2:1: unknown key `\\u{1b}[2J`",
            hint("extends, env, egress, git, supervise, scan, limits, rootfs, tools, workspace, backend"),
        ),
    ] {
        assert_refused(yaml, cause, &hint);
    }
}

// covers: F19
#[test]
fn a_value_of_the_wrong_kind_is_an_error_that_does_not_quote_it() {
    let shape = "see `bottle schema` for the shape of each key";
    for (yaml, cause, hint) in [
        ("env: [hunter2]", "2:6: expected a mapping", shape),
        ("env: hunter2", "2:6: expected a mapping", shape),
        ("env: { A: [hunter2] }", "2:11: expected a text", shape),
        ("env: { A: { B: hunter2 } }", "2:11: expected a text", shape),
        ("env:\n  A:", "3:4: a value is missing", "write \"\" for an empty text"),
        ("env: { A: !secret hunter2 }", "2:19: a YAML tag (`!…`)", "remove it, or quote the text"),
        ("egress: [a]", "2:9: expected a mapping", shape),
        ("egress: { routes: a.test }", "2:19: expected a list", shape),
        ("egress: { routes: { host: a.test } }", "2:19: expected a list", shape),
        ("egress: { routes: [a.test] }", "2:20: expected a mapping", shape),
        ("egress: { routes: [{ host: a, auth: }] }", "2:35: expected a mapping", shape),
        (
            "egress: { routes: [{ host: a, auth: {} }] }",
            "2:37: a credential that comes from nowhere",
            "write `token_ref`, the name of a variable, or `token_file`, `token_command` or `login`",
        ),
        ("egress: { routes: [{}] }", "2:20: missing key `host`", "add `host: …`; `bottle schema` prints every key"),
        (
            "egress: { routes: [{ host: *.a.test }] }",
            "2:28: an alias (`*…`) that names nothing",
            "quote a text that starts with a star: \"*.example.com\"",
        ),
        ("supervise: yes", "2:12: expected true, false or a mapping", "`yes`, `no`, `on` and `off` are not booleans here"),
        ("supervise:", "2:10: expected true, false or a mapping", "`yes`, `no`, `on` and `off` are not booleans here"),
        ("limits: { pids: -1 }", "2:17: expected a whole number", "write digits only"),
        ("limits: { pids: 1e3 }", "2:17: expected a whole number", "write digits only"),
        ("limits: { pids: 0 }", "2:17: a limit of zero processes", "write at least 1, or remove the key"),
        ("limits: { memory: 4 }", "2:19: `4` is not a size", "write digits and a unit: 512MiB, 4GiB, 100MB"),
        ("limits: { time: 90 }", "2:17: `90` is not a duration", "write digits and units, largest first: 2h, 30m, 90s, 1h30m"),
        ("rootfs: hots", "2:9: unknown value `hots`", "did you mean `host`?"),
        ("rootfs:", "2:7: a value is missing", "write one of host, image"),
        ("rootfs: [host]", "2:9: expected a word or a mapping", shape),
        ("rootfs: { image: a, host: }", "2:21: more than one choice where one is meant", "keep one of them"),
        ("workspace: writable", "2:12: unknown value `writable`", "known here: overlay, copy, mount, none"),
        ("tools: /opt", "2:8: expected a list of directories, or the word none", "write `tools: [/opt/tool]`"),
        ("[a]", "2:1: expected a mapping", shape),
        ("text", "2:1: expected a mapping", shape),
        ("<<: { env: {} }", "2:1: a merge key (`<<`)", "write the keys out, or put them in a bottle and extend it"),
        ("env: &e { A: b }\nenv: *e", "3:1: duplicate key `env`", "keep one of them: which of two would count is a guess"),
        ("env: { A: hunter2, A: b }", "2:20: duplicate key `A`", "keep one of them: which of two would count is a guess"),
        (
            "env: { A: 'hunter2 }",
            "2:11: not valid YAML: unclosed quote",
            "check indentation, quotes and brackets on this line and the one before",
        ),
    ] {
        assert_refused(yaml, cause, hint);
        assert!(!refused(yaml).contains("hunter2"));
    }
}

#[test]
fn a_route_that_could_be_read_in_two_ways_is_refused() {
    let host = |host: &str| format!("egress: {{ routes: [{{ host: '{host}' }}] }}");
    let hint = "write a name, \"*.suffix\" or an address, and `:port` if it is neither 443 nor 80; no scheme, no path";
    for (name, what) in [
        ("https://a.test", "a URL instead of a host"),
        ("a.test/v1", "a URL instead of a host"),
        ("a.test:0", "the port is not a number from 1 to 65535"),
        ("a.test:65536", "the port is not a number from 1 to 65535"),
        ("a.test:+1", "the port is not a number from 1 to 65535"),
        ("a.test:", "the port is not a number from 1 to 65535"),
        ("a.test:80:80", "the port is not a number from 1 to 65535"),
        ("", "the host is empty"),
        ("a.*", "the host has a character that no DNS name has (write international names as xn--…)"),
        ("*a.test", "the host has a character that no DNS name has (write international names as xn--…)"),
        ("grün.test", "the host has a character that no DNS name has (write international names as xn--…)"),
        ("a..test", "the host has an empty label, or one that starts or ends with a hyphen"),
        ("127.1", "the host looks like an address that parsers read differently; write it as four decimal octets"),
        ("2001:db8::1", "the port is not a number from 1 to 65535"),
    ] {
        assert_refused(&host(name), &format!("2:28: {what}"), hint);
    }
    let two = "egress: { routes: [{ host: a.test }, { host: 'A.TEST.:8443' }] }";
    assert_refused(two, "2:46: a second route for `a.test`", "put all `matches` of a host in one route");
    for host in ["'*'", "'*.com'"] {
        let yaml = format!("egress: {{ routes: [{{ host: {host}, auth: {{ token_ref: A }} }}] }}");
        let what = format!("2:28: a credential for every host that `{}` names", host.trim_matches('\''));
        assert_refused(&yaml, &what, "name the host that the credential is for");
    }
    let inside = |inside: &str| format!("egress: {{ routes: [{{ host: a.test, {inside} }}] }}");
    for (yaml, cause, hint) in [
        ("matches: [{ methods: [get] }]", "58: not a method's name", "did you mean `GET`?"),
        ("matches: [{ methods: ['GET /'] }]", "58: not a method's name", "method names are upper case, as in GET"),
        (
            "matches: [{ methods: [CONNECT] }]",
            "58: CONNECT cannot be in a match",
            "tunnels are judged by host; list the methods inside the tunnel",
        ),
        ("matches: [{ paths: [/v1/*] }]", "56: paths have no wildcards", "end the path with `/` to allow all below it"),
        ("matches: [{ paths: ['/v1?x'] }]", "56: a query in a path", "only the path is judged; remove the query"),
        ("matches: [{ paths: [v1/] }]", "56: the path must start with exactly one slash", "write it as in /repos/acme/ or /graphql"),
        ("matches: [{ paths: [/v1/../x] }]", "56: the path has a dot segment", "write it as in /repos/acme/ or /graphql"),
        (
            "auth: { token_ref: ghp_16C7e42F292c6912E7710c838347Ae178B4a }",
            "55: `token_ref` is not the name of a variable",
            "write the name of the environment variable that holds the token, as in GITHUB_TOKEN; never the token itself",
        ),
        ("auth: { token_ref: A, header: 'x y' }", "66: not a header's name", "write the name only, as in x-api-key"),
        (
            "auth: { token_ref: A, header: Host }",
            "66: no credential may go into `host`",
            "write the header that the origin reads it from, as in x-api-key",
        ),
        (
            "auth: { token_ref: A, header: x-bottle-injected }",
            "66: no credential may go into `x-bottle-injected`",
            "write the header that the origin reads it from, as in x-api-key",
        ),
        ("auth: { token_ref: A, scheme: 'a b' }", "66: not an authentication scheme", "write one word, as in Bearer, or none"),
        (
            "connect: 'localhost:80'",
            "45: not an address and a port",
            "write an address and a port, as in 192.0.2.7:3128 or [2001:db8::7]:3128",
        ),
        (
            "connect: '127.0.0.1'",
            "45: not an address and a port",
            "write an address and a port, as in 192.0.2.7:3128 or [2001:db8::7]:3128",
        ),
        (
            "connect: '127.0.0.1:0'",
            "45: an address that cannot be dialled",
            "write an address and a port, as in 192.0.2.7:3128 or [2001:db8::7]:3128",
        ),
        (
            "connect: '0.0.0.0:80'",
            "45: an address that cannot be dialled",
            "write an address and a port, as in 192.0.2.7:3128 or [2001:db8::7]:3128",
        ),
    ] {
        assert_refused(&inside(yaml), &format!("2:{cause}"), hint);
    }
    for address in [
        "169.254.169.254:80",
        "169.254.170.2:80",
        "[::ffff:169.254.169.254]:80",
        "[fd00:ec2::254]:80",
        "[fd20:ce::254]:80",
        "100.100.100.200:80",
        "168.63.129.16:80",
        "192.0.0.192:80",
        "[fe80::1]:80",
    ] {
        assert_refused(
            &inside(&format!("connect: '{address}'")),
            "2:45: the address of a metadata service",
            "metadata services are never reachable; there is no exception",
        );
        let name = address.rsplit_once(':').unwrap().0;
        assert_refused(
            &host(name),
            "2:28: the address of a metadata service",
            "metadata services are never reachable; there is no exception",
        );
        let proxy = format!("egress: {{ proxy: {{ address: '{address}' }} }}");
        assert_refused(&proxy, "2:29: the address of a metadata service", "metadata services are never reachable; there is no exception");
    }
}

// covers: X04
#[test]
fn a_hostile_agent_name_is_refused_before_anything_is_looked_up() {
    let long = "a".repeat(300);
    for name in ["", "../x", "a/b", "-rf", "--help", "a\nb", "a\0b", "\u{1b}[2J", ".", "..", "ä", "$(id)", "Implementer", long.as_str()] {
        let error = library(&[]).resolve(name).unwrap_err();
        assert_eq!(error.code, 2);
        assert_eq!(error.cause, "a name is a lower-case letter, then up to 40 lower-case letters, digits or hyphens");
        assert!(!error.what.contains(['\n', '\0', '\u{1b}']), "{:?}", error.what);
    }
    assert_eq!(
        library(&[]).resolve("implementor").unwrap_err().to_string(),
        "error: there is no agent `implementor`\ncause: neither your configuration, this repository nor bottle defines it\nhint:  did you mean `implementer`?"
    );
}

#[test]
fn an_agent_manifest_is_as_strict_as_a_bottle() {
    for (yaml, cause, hint) in [
        ("provider: shell", "2:1: missing key `bottle`", "add `bottle: …`; `bottle schema` prints every key"),
        ("# bottle: offline", "1:1: missing key `bottle`", "add `bottle: …`; `bottle schema` prints every key"),
        (
            "bottle: offline",
            "2:9: the agent names no program",
            "write `provider: claude`, another provider, or `command: [program, argument]`",
        ),
        ("bottle: offline\nprovider: shell\ncommand: [x]", "4:10: both `provider` and `command` name a program", "keep one of them"),
        ("bottle: ofline\nprovider: shell", "2:9: there is no bottle `ofline`", "did you mean `offline`?"),
        ("bottle: offline\nprovider: cluade", "3:11: there is no provider `cluade`", "did you mean `claude`?"),
        ("bottle: offline\ncommand: []", "3:10: `command` names no program", "write `command: [program, argument]`"),
        ("bottle: offline\ncommand: ['']", "3:10: `command` names no program", "write `command: [program, argument]`"),
        ("bottle: offline\ncommand: [a, \"b\\0\"]", "3:14: a NUL in an argument", "arguments cannot contain one"),
        ("bottle: offline\nprovider: shell\nmodell: opus", "4:1: unknown key `modell`", "did you mean `model`?"),
        (
            "bottle: offline\nprovider: shell\nmodel: opus",
            "4:8: this program cannot be given a model",
            "write it into the program's arguments, or remove the key",
        ),
        ("bottle: offline\nprovider: claude\nmodel: --evil", "4:8: not a model's name", "write the name that the program knows"),
        (
            "bottle: offline\nprovider: shell\ndescription: \"a\\nb\"",
            "4:14: the description is not one line of text",
            "move the rest below the front matter",
        ),
        (
            "bottle: offline\nbottle: dev\nprovider: shell",
            "3:1: duplicate key `bottle`",
            "keep one of them: which of two would count is a guess",
        ),
    ] {
        let text = format!("---\n{yaml}\n---\n");
        let error = library(&[("agents/a", text.as_str())]).resolve("a").unwrap_err();
        let expected = format!("error: agent `a` cannot be used\ncause: /cfg/agents/a.md:{cause}\nhint:  {hint}");
        assert_eq!(error.to_string(), expected, "{yaml}");
    }
}

#[test]
fn supervise_is_a_word_or_a_mapping() {
    let supervise = |yaml: &str| bottle(yaml).unwrap().supervise;
    assert_eq!(supervise("supervise: false"), None);
    assert_eq!(supervise("supervise: true"), Some(Supervise::default()));
    let expected = Supervise { unattended: Unattended::Queue, hold: Duration::from_secs(30), signers: Some("/cfg/bottles/signers".into()) };
    assert_eq!(supervise("supervise: { unattended: queue, hold: 30s, signers: signers }"), Some(expected));
    assert_refused(
        "supervise: { hold: 56s }",
        "2:20: a request cannot be held for so long",
        "write 1s to 55s: the least patient clients wait for 60 seconds",
    );
}

// covers: G08
#[test]
fn a_repository_behind_the_gate_is_checked_word_by_word() {
    let ssh = "upstream: 'ssh://git@github.com/acme/app.git', identity: ~/.ssh/id";
    let key = "host_key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl'";
    let good = [
        format!("name: app, {ssh}, {key}, push: {{ allow: [refs/heads/agent/*], force: false, delete: false }}"),
        format!("name: app, {ssh}, {key}, push:"),
        "name: my.app_2, upstream: 'https://example.com:8443/acme/app'".to_owned(),
    ];
    for repo in good {
        assert_eq!(bottle(&format!("git: {{ repos: [{{ {repo} }}] }}")).unwrap().git.len(), 1, "{repo}");
    }
    for yaml in ["git:", "git: { repos: [] }", "git: { repos: }"] {
        assert_eq!(bottle(yaml).unwrap().git, [], "{yaml}");
    }
    let all = "name: app, upstream: 'https://a.test/x', auth: { scheme: basic, token_ref: T }, connect: '127.0.0.1:1', \
               push: { allow: [refs/heads/a/*], create: false, update: false, force: true, delete: true, options: true, size: 1MiB, objects: 7 }";
    let made = bottle(&format!("git: {{ author: {{ name: Ann, email: a@b.test }}, repos: [{{ {all} }}] }}")).unwrap();
    assert_eq!(made.author.to_string(), "Ann <a@b.test>");
    let policy = PushPolicy {
        allow: vec!["refs/heads/a/*".into()],
        create: false,
        update: false,
        force: true,
        delete: true,
        options: true,
        committer: None,
        pack_bytes: 1 << 20,
        objects: 7,
    };
    assert_eq!(made.git[0].push, policy);
    assert_eq!(bottle(&format!("git: {{ repos: [{{ name: app, {ssh}, {key}, push: }}] }}")).unwrap().git[0].push, PushPolicy::default());
    let url = "write ssh://git@host/path.git or https://host/path.git";
    for (repo, what, hint) in [
        (format!("name: app, {ssh}"), "an SSH upstream without `host_key`", "add the server's public key: nothing is trusted on first use"),
        (
            format!("name: app, upstream: 'ssh://git@a.test/x', {key}"),
            "an SSH upstream without `identity`",
            "add the path of the private key",
        ),
        (
            format!("name: ../app, {ssh}, {key}"),
            "not a repository's name",
            "letters, digits, `-`, `_` and `.`, at most 64, without `.git` at the end",
        ),
        (
            format!("name: app, upstream: 'https://a.test/x', {key}"),
            "a key for an upstream that is not SSH",
            "remove it, or write the upstream as ssh://…",
        ),
        (
            format!("name: app, {ssh}, host_key: AAAA"),
            "not an SSH public key",
            "write `ssh-ed25519 AAAA…`, as the server's operator publishes it",
        ),
        (
            format!("name: app, {ssh}, {key}, push: {{ allow: [main] }}"),
            "not a full ref name with at most one star",
            "write it in full: refs/heads/agent/*",
        ),
        (
            format!("name: app, {ssh}, {key}, push: {{ allow: [refs/heads/*/*] }}"),
            "not a full ref name with at most one star",
            "write it in full: refs/heads/agent/*",
        ),
        ("name: app, upstream: 'git@github.com:acme/app.git'".into(), "not an ssh:// or https:// URL", url),
        ("name: app, upstream: 'file:///etc'".into(), "not an ssh:// or https:// URL", url),
        ("name: app, upstream: 'https://u:p@a.test/x'".into(), "a password in the URL", url),
        ("name: app, upstream: 'ssh://-oProxyCommand=x@a.test/x'".into(), "not a user's name in the URL", url),
        ("name: app, upstream: 'https://a.test/../x'".into(), "not a repository's path in the URL", url),
        ("name: app, upstream: 'https://127.1/x'".into(), "not a host and port in the URL", url),
        ("name: app, upstream: 'ext::sh -c x'".into(), "not an ssh:// or https:// URL", url),
        (
            format!("name: app, {ssh}, {key}, auth: {{ token_ref: T }}"),
            "a token for an upstream over SSH",
            "remove it, or write the upstream as https://…",
        ),
    ] {
        let error = refused(&format!("git: {{ repos: [{{ {repo} }}] }}"));
        assert!(error.contains(&format!(": {what}\nhint:  {hint}")), "{repo}\n{error}");
    }
}
