//! Upstream over SSH: a real OpenSSH server on this machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bottle_test_support::deadline::wait_until;
use serde_json::json;

use crate::support::*;

/// `sshd` with its own keys, for this user alone.
struct Sshd {
    child: Child,
    address: SocketAddr,
    host_key: String,
}

fn key(path: &Path, kind: &str) -> String {
    run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-C", "", "-f"]).arg(path));
    fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned()
}

fn user() -> String {
    run(Command::new("id").arg("-un"))
}

impl Sshd {
    fn start(directory: &Path, client: &str, host_kind: &str) -> Self {
        let host = directory.join("host_key");
        let host_key = key(&host, host_kind);
        // A second key, of another kind: the client must ask for the one it knows.
        let other = directory.join("other_key");
        key(&other, if host_kind == "rsa" { "ed25519" } else { "rsa" });
        let authorized = directory.join("authorized_keys");
        fs::write(&authorized, format!("{client}\n")).unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let config = directory.join("sshd_config");
        let text = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PasswordAuthentication no\nAcceptEnv GIT_PROTOCOL\nPermitRootLogin prohibit-password\n",
            address.port(),
            host.display(),
            other.display(),
            authorized.display()
        );
        fs::write(&config, text).unwrap();
        let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| Path::new(path).exists());
        let sshd = sshd.expect("the tests need OpenSSH's server: apt-get install openssh-server");
        // As root it wants an empty directory of its own, which it gets in a mount namespace of its own.
        let script = "if [ \"$(id -u)\" = 0 ]; then mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd; fi; exec \"$0\" -D -e -f \"$1\"";
        let mut command = Command::new(if user() == "root" { "unshare" } else { "sh" });
        if user() == "root" {
            command.args(["--mount", "--propagation", "private", "sh"]);
        }
        let child = command.args(["-c", script, sshd]).arg(&config).stderr(Stdio::null()).spawn().unwrap();
        wait_until(TIMEOUT, || TcpStream::connect(address).ok()).expect("sshd does not answer");
        Self { child, address, host_key }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gate whose upstream is behind `sshd`.
struct SshWorld {
    world: World,
    _sshd: Sshd,
    repository: PathBuf,
}

fn ssh_world(client_kind: &str, host_kind: &str, pin: impl FnOnce(&str, &Path) -> String) -> SshWorld {
    let directory = tempfile::Builder::new().prefix("gate-ssh-").tempdir().unwrap().keep();
    let client = key(&directory.join("id"), client_kind);
    let sshd = Sshd::start(&directory, &client, host_kind);
    let repository = directory.join("it's app.git");
    make_upstream(&repository);
    let pinned = pin(&sshd.host_key, &directory);
    let upstream = json!({"ssh": {"host": "git.test", "port": 22, "user": user(), "path": repository.to_str().unwrap(),
        "host_key": pinned, "identity": "GIT_SECRET_1"}});
    let world = World::prepared(WorldOptions { upstream: Some(upstream), ..WorldOptions::default() }, |root, map| {
        let secrets = root.join("secrets");
        fs::create_dir_all(&secrets).unwrap();
        fs::copy(directory.join("id"), secrets.join("GIT_SECRET_1")).unwrap();
        fs::set_permissions(secrets.join("GIT_SECRET_1"), fs::Permissions::from_mode(0o600)).unwrap();
        map.names.lock().unwrap().push((("git.test".into(), 22), sshd.address));
    });
    SshWorld { world, _sshd: sshd, repository }
}

impl Drop for SshWorld {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.repository.parent().unwrap());
    }
}

fn kind_and_key(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn work_goes_to_an_upstream_over_ssh() {
    for (client, host) in [("ed25519", "ed25519"), ("rsa", "ecdsa"), ("ecdsa", "rsa")] {
        let ssh = ssh_world(client, host, |key, _| kind_and_key(key));
        let tree = ssh.world.clone_named("work");
        tree.write("file", "work\n".repeat(50_000));
        let commit = tree.commit("work");
        tree.push(&["HEAD:refs/heads/agent/x"]).is_taken();
        let refs = run(git(&ssh.repository).args(["for-each-ref", "--format=%(refname) %(objectname)"]));
        assert!(refs.contains(&format!("refs/heads/agent/x {commit}")), "{refs}");
        tree.push(&["HEAD:main"]).is_refused_with("no pattern");
        for version in ["0", "2"] {
            let listed = run(tree.git().args(["-c", &format!("protocol.version={version}"), "ls-remote", "origin"]));
            assert!(listed.contains(&commit), "{listed}");
            let other = ssh.world.fresh(&format!("other{version}"));
            run(other.git().args(["-c", &format!("protocol.version={version}"), "fetch", "-q", "origin"]));
        }
        tree.write("token", secret());
        tree.commit("leak");
        tree.push(&["HEAD:refs/heads/agent/x"]).is_refused_with("secret_detected");
    }
}

// covers: G14
#[test]
fn a_server_with_another_host_key_gets_nothing() {
    let ssh = ssh_world("ed25519", "ed25519", |_, directory| kind_and_key(&key(&directory.join("evil"), "ed25519")));
    let tree = ssh.world.fresh("work");
    Pushed::of(tree.git().args(["ls-remote", "origin"])).is_refused_with("upstream_tls");
    tree.commit("work");
    tree.push(&["HEAD:refs/heads/agent/x"]).is_refused_with("upstream_tls");
    let refs = run(git(&ssh.repository).args(["for-each-ref", "--format=%(refname)"]));
    assert_eq!(refs, "refs/heads/main");
}
