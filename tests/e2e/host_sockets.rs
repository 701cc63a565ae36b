//! A service of the host that listens in a directory which the agent sees. The service is asked who came, not the agent.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use bottle_test_support::warden::Ending;
use nix::sys::socket::{AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept, bind, listen, recv, socket};

use crate::net::world::{NAME, Place, World, places, users};

const PROBE: &str = include_str!("host_sockets.py");

/// A directory of the host's that is removed in the end.
struct Tree(PathBuf);

impl Tree {
    fn below(parent: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bottle-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(parent).join(name);
        fs::create_dir_all(&path).expect("root may write there");
        Self(path)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Services of the host, each for everybody, in one directory.
struct Services {
    sockets: Vec<(String, SockType, OwnedFd)>,
    fifos: Vec<(String, fs::File)>,
}

impl Services {
    fn none() -> Self {
        Self { sockets: Vec::new(), fifos: Vec::new() }
    }

    fn open(&mut self, directory: &Path, when: &str) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        for (kind, name) in [(SockType::Stream, "stream"), (SockType::SeqPacket, "packet"), (SockType::Datagram, "datagram")] {
            let path = directory.join(format!("{when}.{name}"));
            let fd = socket(AddressFamily::Unix, kind, flags, None).expect("a socket");
            bind(fd.as_raw_fd(), &UnixAddr::new(&path).expect("a short path")).expect("the host may bind");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("its mode");
            if kind != SockType::Datagram {
                listen(&fd, Backlog::new(64).expect("a number")).expect("it listens");
            }
            self.sockets.push((path.display().to_string(), kind, fd));
        }
        let path = directory.join(format!("{when}.fifo"));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("a FIFO");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("its mode");
        let reader = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("the host reads");
        self.fifos.push((path.display().to_string(), reader));
    }

    /// Who came: the names of the services that anything reached.
    fn visited(&mut self) -> Vec<String> {
        let came = |kind: SockType, fd: &OwnedFd| match kind {
            SockType::Datagram => recv(fd.as_raw_fd(), &mut [0; 16], MsgFlags::empty()).is_ok(),
            _ => accept(fd.as_raw_fd()).is_ok(),
        };
        let sockets = self.sockets.iter().filter(|(_, kind, fd)| came(*kind, fd)).map(|(name, ..)| name.clone());
        let mut visited: Vec<String> = sockets.collect();
        for (name, fifo) in &mut self.fifos {
            if fifo.read(&mut [0; 16]).is_ok_and(|count| count > 0) {
                visited.push(name.clone());
            }
        }
        visited
    }
}

/// Runs the probe; the services are there before the start, and once more after it. Gives what the agent heard, and who was visited.
fn reach(world: &World, shown: &[(PathBuf, String)]) -> (String, Vec<String>) {
    let mut services = Services::none();
    for (directory, _) in shown {
        services.open(directory, "early");
    }
    let (input, mut line) = std::io::pipe().expect("a pipe");
    let trees: Vec<&str> = shown.iter().map(|(_, inside)| inside.as_str()).collect();
    let script = [&["start", NAME, "--yes", "--", "/usr/bin/python3", "host_sockets.py", "reach"], trees.as_slice()].concat();
    let run = world.bottle.start_with(script, OwnedFd::from(input).into());
    run.said("ready\n");
    for (directory, _) in shown {
        services.open(directory, "late");
    }
    line.write_all(b"go\n").expect("it reads");
    run.said("done\n");
    let visited = services.visited();
    // What is left in the end is counted.
    drop(services);
    drop(line);
    let ended = run.end();
    world.is_gone();
    assert_eq!(ended.ending, Ending::Code(0), "{}{}", ended.stdout, ended.stderr);
    (ended.stdout, visited)
}

fn world(place: Place, user: Option<u32>, workspace: &str) -> World {
    World::on(place, user).file("host_sockets.py", PROBE).setting(&format!("workspace: {workspace}"))
}

fn name(place: Place) -> &'static str {
    place.map_or("embedded", |engine| engine.name)
}

/// A name of a service, and each answer that the agent may have got there.
fn assert_only(said: &str, names: &[&str], allowed: &[&str], context: &str) {
    let lines: Vec<&str> = said.lines().filter(|line| !["ready", "done"].contains(line)).collect();
    let heard: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(heard, names, "{context}: {said}");
    for line in lines {
        let answers: Vec<&str> = line.split(' ').skip(1).collect();
        assert!(!answers.is_empty() && answers.iter().all(|answer| allowed.contains(answer)), "{context}: {line}");
    }
}

const KINDS: [&str; 8] =
    ["early.datagram", "early.fifo", "early.packet", "early.stream", "late.datagram", "late.fifo", "late.packet", "late.stream"];

// covers: I01 N20
#[test]
fn no_service_of_the_host_answers_in_a_directory_that_is_shown() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for place in places() {
        for user in users() {
            let trees = [Tree::below("/usr/local/lib"), Tree::below("/opt"), Tree::below("/srv/bottle-test-tools")];
            let world = world(place, user, "overlay").setting(&format!("tools: [{:?}]", trees[2].0)).ready("provider: shell");
            let shown: Vec<_> = trees.iter().map(|tree| (tree.0.clone(), tree.0.display().to_string())).collect();
            let (said, visited) = reach(&world, &shown);
            let context = format!("{} as {user:?}", name(place));
            assert_eq!(visited, Vec::<String>::new(), "{context}: {said}");
            // A FIFO without a reader, or landlock; a socket without a listener.
            assert_only(&said, &KINDS.repeat(3), &["ECONNREFUSED", "EACCES", "ENXIO"], &context);
        }
    }
}

// covers: I01 N20
#[test]
fn no_service_of_the_host_answers_in_the_working_directory() {
    for place in places() {
        for (user, workspace) in users().into_iter().flat_map(|user| ["overlay", "mount"].map(|workspace| (user, workspace))) {
            if place.is_some() && user.is_none() {
                // Root's own directory is never seen on an engine: the agent has a copy, in which there are no sockets.
                continue;
            }
            let world = world(place, user, workspace).ready("provider: shell");
            let directory = world.bottle.path().join("work/services");
            fs::create_dir(&directory).expect("a directory of the test");
            let shown = [(directory, "/workspace/services".to_owned())];
            let (said, visited) = reach(&world, &shown);
            let context = format!("{} as {user:?}, {workspace}", name(place));
            // What is written into a mounted tree, the host reads: a FIFO in it is no other than a file.
            let visited: Vec<_> = visited.into_iter().filter(|name| workspace != "mount" || !name.ends_with("fifo")).collect();
            assert_eq!(visited, Vec::<String>::new(), "{context}: {said}");
            assert_only(
                &said,
                &KINDS,
                if workspace == "mount" { &["ECONNREFUSED", "EPERM", "ELOOP", "ok"] } else { &["ECONNREFUSED", "ENXIO"] },
                &context,
            );
            let sockets = said.lines().filter(|line| !line.contains("fifo"));
            assert!(!sockets.clone().any(|line| line.contains(" ok")), "{context}: {said}");
        }
    }
}

/// What the agent hears that uses sockets of its own: `files` for those with a name in the file system.
fn expected(files: &str, datagrams: &str) -> String {
    let mut lines = Vec::new();
    for directory in ["/workspace", "/tmp", "/run", "/home/agent"] {
        lines.extend(["SOCK_STREAM", "SOCK_SEQPACKET"].map(|kind| format!("{directory} {kind} {files}")));
    }
    lines.extend(["relative", "by descriptor", "by link", "renamed", "abstract"].map(|what| format!("{what} {files}")));
    lines.push("tcp ok".to_owned());
    lines.extend(["waits", "many"].map(|what| format!("{what} {files}")));
    lines.push(format!("ssh-agent {files}"));
    lines.push(format!("datagram {datagrams}"));
    lines.push("pair ok".to_owned());
    lines.join("\n") + "\n"
}

// covers: I01
#[test]
fn sockets_of_the_agents_own_work() {
    for place in places() {
        for (user, workspace) in users().into_iter().flat_map(|user| ["overlay", "copy", "mount"].map(|workspace| (user, workspace))) {
            if place.is_some() && workspace == "mount" {
                continue;
            }
            let said = world(place, user, workspace).ready("provider: shell").said("/usr/bin/python3 host_sockets.py own");
            let datagrams = if workspace == "mount" { "EPERM" } else { "ok" };
            assert_eq!(said, expected("ok", datagrams), "{} as {user:?}, {workspace}", name(place));
        }
    }
}

// covers: I01
#[test]
fn in_a_container_with_the_hosts_own_directory_there_are_only_pairs() {
    for place in places().into_iter().filter(Option::is_some) {
        let user = users().pop().flatten();
        let ended = world(place, user, "mount").ready("provider: shell").sh("/usr/bin/python3 host_sockets.py own");
        assert_eq!(ended.ending, Ending::Code(0), "{}", ended.stderr);
        let said: Vec<&str> = ended.stdout.lines().filter(|line| !line.starts_with("ssh-agent")).collect();
        let expected = expected("EPERM", "EPERM");
        let expected: Vec<&str> = expected.lines().filter(|line| !line.starts_with("ssh-agent")).collect();
        assert_eq!(said, expected, "{}", name(place));
    }
}

// covers: I01
#[test]
fn a_path_that_changes_while_the_kernel_reads_it_leads_to_no_service_of_the_host() {
    for user in users() {
        let world = world(None, user, "mount").ready("provider: shell");
        let mut services = Services::none();
        services.open(&world.bottle.path().join("work"), "early");
        let said = world.said("/usr/bin/python3 host_sockets.py race /workspace/early.stream");
        assert_eq!((said.as_str(), services.visited()), ("ECONNREFUSED ok\n", Vec::new()), "as {user:?}");
    }
}

/// Something that is mounted until the end of a test.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path, arguments: &[&str]) -> Self {
        fs::create_dir_all(at).expect("a directory of the test");
        let status = Command::new("mount").args(arguments).arg(at).status().expect("mount runs");
        assert!(status.success(), "mount {arguments:?} {}", at.display());
        Self(at.to_owned())
    }

    /// Two directories as one, read-only.
    fn overlay(at: &Path, lower: &Path, other: &Path) -> Self {
        let layers = format!("lowerdir={}:{}", lower.display(), other.display());
        Self::new(at, &["-t", "overlay", "overlay", "-o", &layers])
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

// covers: I01
#[test]
fn a_tree_that_no_overlay_can_show_has_no_service_of_the_host_either() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for user in users() {
        let [tree, layers] = [(); 2].map(|()| Tree::below("/srv/bottle-test-tools"));
        let below = Mounted::new(&tree.0.join("mounted"), &["-t", "tmpfs", "tmpfs"]);
        // As many overlays as the kernel stacks.
        let [base, other] = ["base", "other"].map(|name| layers.0.join(name));
        fs::create_dir(&base).and_then(|()| fs::create_dir(&other)).expect("directories of the test");
        let first = Mounted::overlay(&layers.0.join("first"), &base, &other);
        let second = Mounted::overlay(&layers.0.join("second"), &first.0, &other);

        let tools = format!("tools: [{:?}, {:?}]", tree.0, second.0);
        let world = world(None, user, "overlay").setting(&tools).ready("provider: shell");
        let shown = [&tree.0, &below.0].map(|path| (path.clone(), path.display().to_string()));
        let (said, visited) = reach(&world, &shown);
        assert_eq!(visited, Vec::<String>::new(), "as {user:?}: {said}");
        assert_only(&said, &KINDS.repeat(2), &["ECONNREFUSED", "EACCES", "EPERM", "ELOOP"], &format!("as {user:?}"));
        let own = world.said(&format!("ls {} >/dev/null && /usr/bin/python3 host_sockets.py own", second.0.display()));
        assert_eq!(own, expected("ok", "EPERM"), "as {user:?}");
        drop((second, first, below));
    }
}
