//! What an agent finds when it looks for a way out. The far end and the host are asked too, not only the agent.

use std::collections::BTreeMap;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use bottle_test_support::canary::Canary;
use bottle_test_support::process::own_namespaces;

use crate::net::world::{World, users};

const PROBE: &str = include_str!("probe.py");

/// A bottle with one route and the probe in its working directory.
fn world(user: Option<u32>) -> World {
    World::new(user).route("echo.test", "").file("probe.py", PROBE).ready("provider: shell")
}

fn probed(world: &World, what: &str) -> Vec<String> {
    world.said(&format!("/usr/bin/python3 probe.py {what}")).lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Runs one probe as every user, and compares all of it.
#[track_caller]
fn expect(what: &str, expected: &[&str]) {
    for user in users() {
        let world = world(user);
        assert_eq!(probed(&world, what), expected, "as {user:?}");
        assert_eq!(world.since(0), [], "nothing was asked of the far end");
    }
}

// covers: N01
#[test]
fn no_address_of_any_kind_can_be_reached() {
    expect(
        "addresses",
        &[
            "0.0.0.1 ENETUNREACH",
            "10.0.0.1 ENETUNREACH",
            "100.64.0.1 ENETUNREACH",
            "169.254.169.254 ENETUNREACH",
            "172.16.0.1 ENETUNREACH",
            "192.0.0.1 ENETUNREACH",
            "192.168.0.1 ENETUNREACH",
            "198.18.0.1 ENETUNREACH",
            "198.20.0.1 ENETUNREACH",
            "224.0.0.1 ENETUNREACH",
            "240.0.0.1 ENETUNREACH",
            "255.255.255.255 ENETUNREACH",
            "192.0.2.1 ENETUNREACH",
            "203.0.113.1 ENETUNREACH",
            "198.19.0.1 ECONNREFUSED ok",
            "198.19.200.200 ECONNREFUSED ok",
            "127.0.0.53 ECONNREFUSED ok",
            "127.0.0.1 ECONNREFUSED ok",
            "::1 ECONNREFUSED ok",
            "fd62:6f74:746c:6500::77 ECONNREFUSED ok",
            "fd62:6f74:746c:6501::1 ENETUNREACH",
            "fe80::1 EINVAL",
            "fc00::1 ENETUNREACH",
            "fd00:ec2::254 ENETUNREACH",
            "ff02::1 EINVAL ENETUNREACH",
            "2002:7f00:1:: ENETUNREACH",
            "2001::1 ENETUNREACH",
            "64:ff9b::7f00:1 ENETUNREACH",
            "2001:db8::1 ENETUNREACH",
            "::ffff:192.0.2.1 ENETUNREACH",
        ],
    );
}

// covers: N11
#[test]
fn of_ipv6_there_is_only_what_is_local_and_no_route_can_be_added() {
    for user in users() {
        let said = world(user).said(
            "awk '{ print $1, $6 }' /proc/net/if_inet6 | sort; grep -vc ' lo$' /proc/net/ipv6_route
             ip -6 route add default dev lo 2>&1; ip -6 addr add fd00::2/64 dev lo 2>&1; grep -c . /proc/net/if_inet6",
        );
        let denied = "RTNETLINK answers: Operation not permitted\n";
        let of_names = "fd626f74746c65000000000000000001";
        assert_eq!(said, format!("00000000000000000000000000000001 lo\n{of_names} lo\n0\n{denied}{denied}2\n"), "as {user:?}");
    }
}

// covers: N12 I23
#[test]
fn no_socket_goes_below_or_beside_the_network() {
    expect(
        "sockets",
        &[
            "icmp EPERM",
            "raw EPERM",
            "raw6 EPERM",
            "packet EPERM",
            "vsock EPERM",
            "netfilter EPERM",
            "audit EPERM",
            "xdp EPERM",
            "alg EPERM",
            "bluetooth EPERM",
            "sctp EPERM",
            "sctp6 EPERM",
            "mptcp EPERM",
            "mptcp6 EPERM",
            "smc EPERM",
            "udplite EPERM",
            "udplite6 EPERM",
            "l2tp EPERM",
            "dccp EPERM",
            "old packet EPERM",
            "tcp ok",
            "udp6 ok",
            "route ok",
            "unix ok",
            "vsock pair EPERM",
            "tipc pair EPERM",
            "tcp pair EPERM",
            "rds pair EPERM",
            "pair ok",
            "datagram pair ok",
            "odd pair EPERM",
        ],
    );
}

// covers: N14
#[test]
fn of_all_ports_only_the_proxy_the_resolver_and_two_of_each_name_answer() {
    expect(
        "ports",
        &["127.0.0.1 80 closed 443 closed 9099", "127.0.0.53 53 80 closed 443 closed", "198.19.1.1 80 443", "198.19.200.200 80 443"],
    );
    expect("interfaces", &["lo", "0 routes"]);
}

// covers: N03
#[test]
fn no_name_is_looked_up_outside() {
    expect(
        "names",
        &[
            "echo.test ['198.19.1.1', 'fd62:6f74:746c:6500::2']",
            "example.test ['198.19.1.2', 'fd62:6f74:746c:6500::3']",
            "localhost ['127.0.0.1']",
            "egress ['127.0.0.1']",
        ],
    );
}

// covers: N20
#[test]
fn no_unix_socket_of_the_host_can_be_connected_to() {
    for user in users() {
        let world = world(user);
        let name = format!("bottle-test-{}", Canary::new("a name").value());
        let path = world.bottle.path().join("tmp/host.sock");
        let shared = world.bottle.path().join("work/host.sock");
        let _listening = [
            UnixListener::bind(&path).expect("a socket of the host"),
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("an abstract socket"),
        ];
        let here = fs::read_to_string("/proc/net/unix").expect("the host's sockets");
        let mut all: Vec<&str> = here.lines().skip(1).filter_map(|line| line.split_whitespace().nth(7)).collect();
        assert!(all.contains(&format!("@{name}").as_str()) && all.contains(&path.to_str().expect("UTF-8")));
        let shared = shared.to_string_lossy().into_owned();
        all.extend([shared.as_str(), "/run/docker.sock", "/var/run/docker.sock", "/run/dbus/system_bus_socket", "/tmp/.X11-unix/X0"]);
        let world = world.file("sockets", &all.join("\n"));
        assert_eq!(world.said("/usr/bin/python3 probe.py unix <sockets"), "");
    }
}

// covers: R16 R12 N12
#[test]
fn system_calls_that_an_agent_has_no_business_with_are_refused() {
    let refused = "unshare setns mount umount2 pivot_root chroot fsopen open_tree move_mount mount_setattr open_by_handle_at bpf \
                   perf_event_open userfaultfd add_key request_key keyctl kexec_load init_module finit_module reboot swapon sethostname iopl \
                   syslog acct settimeofday pidfd_getfd kcmp fanotify_init";
    let missing = ["io_uring_setup", "io_uring_enter", "io_uring_register", "clone3", "unknown", "far", "x32 getpid", "x32 ioctl"];
    let lines: Vec<String> =
        refused.split_whitespace().map(|call| format!("{call} EPERM")).chain(missing.iter().map(|call| format!("{call} ENOSYS"))).collect();
    expect("calls", &lines.iter().map(String::as_str).collect::<Vec<_>>());
}

// covers: R16
#[test]
fn the_system_calls_of_32_bit_programs_end_whoever_makes_them() {
    expect("ia32", &["killed"]);
}

// covers: R17 R10
#[test]
fn high_bits_hide_no_argument_and_no_namespace_can_be_made() {
    let namespaces = ["user", "mount", "net", "pid", "cgroup", "uts", "ipc"].map(|kind| format!("clone a {kind} namespace EPERM"));
    let mut lines: Vec<&str> = vec!["TIOCSTI EPERM", "TIOCSTI with high bits EPERM", "TIOCLINUX with high bits EPERM"];
    lines.extend(namespaces.iter().map(String::as_str));
    lines.extend(["clone with high bits EPERM", "socket with high bits EPERM"]);
    expect("flags", &lines);
}

// covers: S08 R02
#[test]
fn no_process_but_its_own_can_be_seen_or_looked_into() {
    expect(
        "others",
        &[
            "True True",
            "mem EACCES",
            "environ EACCES",
            "maps EACCES",
            "root/etc/passwd EACCES",
            "cwd EACCES",
            "exe EACCES",
            "fd EACCES",
            "exe for writing EACCES",
            "ptrace EPERM",
            "process_vm_readv EPERM",
            "kill ok",
        ],
    );
}

// covers: R06
#[test]
fn what_tells_about_the_host_is_masked_or_absent() {
    expect(
        "files",
        &[
            "/proc/kcore nothing",
            "/proc/keys nothing",
            "/proc/key-users nothing",
            "/proc/sysrq-trigger nothing",
            "/proc/timer_list nothing",
            "/proc/kallsyms nothing",
            "/proc/kmsg nothing",
            "/proc/sys/kernel/core_pattern EROFS",
            "/proc/sys/vm/drop_caches EROFS",
            "/proc/sys/user/max_user_namespaces EROFS",
            "/proc/irq/default_smp_affinity EROFS",
            "/usr/x EROFS",
            "/etc/passwd EROFS",
            "/x EROFS",
            "/opt/x EROFS",
            "/etc/ssl/certs/ca-certificates.crt EROFS",
            "/var/lib/x EACCES",
            "/sys/kernel absent",
            "/sys/fs/cgroup absent",
            "/dev/mem absent",
            "/dev/kvm absent",
            "/dev/fuse absent",
            "/dev/net/tun absent",
            "/dev/sda absent",
            "/dev/vda absent",
            "/root absent",
            "/etc/shadow absent",
            "/etc/ssh absent",
            "/etc/sudoers absent",
            "/boot absent",
            "/var/run/docker.sock absent",
            "mknod EPERM",
            "nested 4",
        ],
    );
}

// covers: R07
#[test]
fn every_privilege_is_gone_for_good() {
    for user in users() {
        let world = world(user);
        let status = world.said("cat /proc/self/status");
        let fields: BTreeMap<&str, &str> = status.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k, v.trim())).collect();
        let none = "0000000000000000";
        let expected = BTreeMap::from([
            ("Uid", "1000\t1000\t1000\t1000"),
            ("Gid", "1000\t1000\t1000\t1000"),
            ("CapInh", none),
            ("CapPrm", none),
            ("CapEff", none),
            ("CapBnd", none),
            ("CapAmb", none),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            // Three of pid 1, which judges some calls; the one that hands them to it; three of the agent.
            ("Seccomp_filters", "7"),
        ]);
        let found: BTreeMap<&str, &str> = fields.into_iter().filter(|(name, _)| expected.contains_key(name)).collect();
        assert_eq!(found, expected, "as {user:?}");
    }
}

/// A line of mountinfo without what differs between machines: numbers, the host's devices, and sizes.
fn mount(line: &str) -> (String, String) {
    let (before, after) = line.split_once(" - ").expect("mountinfo has a separator");
    let before: Vec<&str> = before.split(' ').collect();
    assert_eq!(before.len(), 6, "a mount without propagation has no optional field: {line}");
    let kind = after.split(' ').next().unwrap_or_default();
    let options = before[5].replace(",relatime", "").replace(",noatime", "");
    (
        before[4].to_owned(),
        if before[4].starts_with("/dev/") && kind == "devtmpfs" { format!("{options} device") } else { format!("{options} {kind}") },
    )
}

// covers: R05
#[test]
fn the_mounts_are_these_and_none_is_shared_with_the_host() {
    for user in users() {
        let world = world(user);
        let mounts: BTreeMap<String, String> = world.said("cat /proc/self/mountinfo").lines().map(mount).collect();
        let host = ["/usr", "/bin", "/sbin", "/lib", "/opt", "/nix", "/run/current-system", "/gnu", "/etc/"];
        let masked = |path: &str| path.starts_with("/proc/") && mounts[path].ends_with(" devtmpfs");
        let (shown, own): (Vec<_>, Vec<_>) = mounts.iter().partition(|(path, _)| host.iter().any(|tree| path.starts_with(tree)));
        assert!(shown.iter().all(|(_, options)| options.starts_with("ro,nosuid,nodev")), "{shown:#?}");
        let mut own: Vec<_> = own.iter().filter(|(path, _)| !masked(path)).map(|(path, options)| format!("{path} {options}")).collect();
        own.sort();
        assert_eq!(
            own,
            [
                "/ ro,nosuid,nodev tmpfs",
                "/dev rw,nosuid,noexec tmpfs",
                "/dev/full rw,nosuid,noexec device",
                "/dev/null rw,nosuid,noexec device",
                "/dev/pts rw,nosuid,noexec devpts",
                "/dev/random rw,nosuid,noexec device",
                "/dev/shm rw,nosuid,nodev,noexec tmpfs",
                "/dev/tty rw,nosuid,noexec device",
                "/dev/urandom rw,nosuid,noexec device",
                "/dev/zero rw,nosuid,noexec device",
                "/home/agent rw,nosuid,nodev tmpfs",
                "/proc rw,nosuid,nodev,noexec proc",
                "/proc/bus ro,nosuid,nodev,noexec proc",
                "/proc/fs ro,nosuid,nodev,noexec proc",
                "/proc/irq ro,nosuid,nodev,noexec proc",
                "/proc/sys ro,nosuid,nodev,noexec proc",
                "/run rw,nosuid,nodev tmpfs",
                "/tmp rw,nosuid,nodev tmpfs",
                "/var/lib rw,nosuid,nodev,noexec tmpfs",
                "/var/tmp rw,nosuid,nodev tmpfs",
                "[HOME]/work rw,nosuid,nodev overlay",
            ],
            "as {user:?}"
        );
    }
}

// covers: R01
#[test]
fn nothing_of_the_operator_is_open_inside() {
    for user in users() {
        let world = world(user);
        // Open in the test and, as they close on no execution, in bottle too.
        let inherited: Vec<_> = (0..50)
            .map(|_| {
                let file = fs::File::open("/").expect("a directory");
                rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("a flag");
                file
            })
            .collect();
        // The bottle's own directories are named so in what a run says.
        assert_eq!(world.said("ls /proc/self/fd; readlink /proc/self/cwd /proc/self/root"), "0\n1\n2\n3\n[HOME]/work\n/\n");
        drop(inherited);
    }
}

// covers: R01 N12
#[test]
fn each_namespace_is_the_bottles_own() {
    for user in users() {
        let world = world(user);
        let said = world.said("for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done");
        let inside: Vec<u64> = said.lines().filter_map(|line| line.split_once('[')?.1.strip_suffix(']')?.parse().ok()).collect();
        assert_eq!(inside.len(), 7);
        assert!(own_namespaces().values().all(|outside| !inside.contains(outside)), "{said}");
    }
}

// covers: S02
#[test]
fn of_the_operators_variables_none_gets_in() {
    const SECRETS: [&str; 12] = [
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "ANTHROPIC_API_KEY",
        "OPENAI_API_KEY",
        "NPM_TOKEN",
        "SSH_AUTH_SOCK",
        "GPG_AGENT_INFO",
        "DBUS_SESSION_BUS_ADDRESS",
        "DATABASE_URL",
        "KUBECONFIG",
        "VAULT_TOKEN",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ];
    for user in users() {
        let mut world = world(user);
        for name in SECRETS {
            world.bottle = world.bottle.secret(name, &Canary::new(name));
        }
        let said = world.said("env | sed 's/=.*//' | sort | tr '\\n' ' '");
        assert_eq!(
            said,
            "ALL_PROXY AWS_CA_BUNDLE BOTTLE_ID CARGO_HTTP_CAINFO CURL_CA_BUNDLE DENO_CERT \
             GIT_AUTHOR_EMAIL GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL GIT_COMMITTER_NAME GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_KEY_1 \
             GIT_CONFIG_KEY_2 GIT_CONFIG_KEY_3 GIT_CONFIG_VALUE_0 GIT_CONFIG_VALUE_1 GIT_CONFIG_VALUE_2 GIT_CONFIG_VALUE_3 \
             GIT_SSL_CAINFO GRPC_DEFAULT_SSL_ROOTS_FILE_PATH HOME \
             HTTPS_PROXY HTTP_PROXY LANG LOGNAME NIX_SSL_CERT_FILE NODE_EXTRA_CA_CERTS NODE_USE_ENV_PROXY NO_PROXY PATH PIP_CERT PWD \
             REQUESTS_CA_BUNDLE SHELL SSL_CERT_FILE USER all_proxy http_proxy https_proxy no_proxy "
        );
    }
}

/// The modes of all files below a directory that have this name.
fn modes(directory: &Path, name: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        let meta = entry.path().symlink_metadata().expect("it stays");
        if entry.file_name() == name {
            found.push(meta.mode() & 0o7777);
        }
        if meta.is_dir() {
            found.extend(modes(&entry.path(), name));
        }
    }
    found
}

// covers: I22 R19
#[test]
fn no_mode_leaves_a_setuid_file_on_the_host() {
    let script = "touch made; for mode in 4755 6755 u+s; do chmod $mode made 2>/dev/null || echo no; done
        cp /usr/bin/true made; install -m 4755 /usr/bin/true other 2>/dev/null || echo no
        mkdir shared && chmod g+s shared && echo shared";
    for (user, workspace) in users().into_iter().flat_map(|user| ["overlay", "copy"].map(|workspace| (user, workspace))) {
        let world = World::new(user).setting(&format!("workspace: {workspace}")).ready("provider: shell");
        // What it says of the changes is not the question.
        assert_eq!(world.sh(script).stdout, "no\nno\nno\nno\nshared\n", "as {user:?}, {workspace}");
        let state = world.bottle.path().join("state");
        assert_eq!(modes(&state, "made"), [0o644], "as {user:?}, {workspace}");
        assert!(modes(&state, "other").iter().all(|mode| mode & 0o6000 == 0), "as {user:?}, {workspace}");
    }
}

// covers: R19
#[test]
fn what_is_made_in_a_mounted_workspace_is_the_operators_and_never_setuid() {
    for user in users() {
        let world = World::new(user).file("probe.py", PROBE).setting("workspace: mount").ready("provider: shell");
        let said = probed(&world, "ownership");
        let ways =
            |what: &str, answer: &str| ["chmod", "fchmod", "create", "mknod", "fchmodat2"].map(|way| format!("{way} {what} {answer}"));
        let mut expected = ["chown to root EINVAL", "chgrp to root EINVAL", "setgroups EPERM", "setuid EINVAL"].map(str::to_owned).to_vec();
        // A file loses the bit without a word, as it does where the kernel drops it; below, none has it.
        let setgid = ["chmod setgid ok", "fchmod setgid ok", "create setgid EPERM", "mknod setgid EPERM", "fchmodat2 setgid ok"];
        let setgid = setgid.map(str::to_owned);
        expected.extend(ways("setuid", "EPERM").into_iter().chain(setgid).chain(ways("sticky", "ok")));
        expected.push("openat2 ENOSYS".to_owned());
        assert_eq!(said, expected, "as {user:?}");
        let operator = (user.unwrap_or(rustix::process::geteuid().as_raw()), user.unwrap_or(rustix::process::getegid().as_raw()));
        let mut names = Vec::new();
        for entry in fs::read_dir(world.bottle.path().join("work")).expect("the working directory").filter_map(Result::ok) {
            let meta = entry.metadata().expect("a file");
            names.push(entry.file_name().into_string().expect("UTF-8"));
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o6000), (operator.0, operator.1, 0), "as {user:?}: {names:?}");
        }
        names.sort();
        assert_eq!(names, ["created-sticky", "made", "made-sticky", "probe.py", "suid"], "as {user:?}");
    }
}
