//! A far end and a bottle with routes to it: what every test of the wall starts from.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use bottle_test_support::bottle::Bottle;
use bottle_test_support::canary::Canary;
use bottle_test_support::engine::{Engine, WORLD, engines};
use bottle_test_support::origin::{Origin, Request};
use bottle_test_support::run::Ended;
use bottle_test_support::warden::Ending;

/// An ordinary user without an entry in any database. Apart from those of other tests: a limit on processes counts by user.
const ORDINARY: u32 = 54_321;
/// The host's variable with the credential of [`World::route`].
pub(crate) const TOKEN: &str = "NET_TOKEN";

/// Who runs the test: as it is, and an ordinary user too where that is root.
pub(crate) fn users() -> Vec<Option<u32>> {
    if rustix::process::geteuid().is_root() { vec![None, Some(ORDINARY)] } else { vec![None] }
}

/// Where a bottle is made: on an engine, or embedded.
pub(crate) type Place = Option<&'static Engine>;

/// Every backend of this machine, the embedded one first.
pub(crate) fn places() -> Vec<Place> {
    std::iter::once(None).chain(engines().iter().map(Some)).collect()
}

/// Makes bottles there, with the images that all tests share: small ones, as symbols would only have to be loaded.
pub(crate) fn under(place: Place, bottle: Bottle) -> Bottle {
    let Some(engine) = place else { return bottle };
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| {
        let beside = PathBuf::from(env!("CARGO_BIN_EXE_bottle"));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stripped");
        fs::create_dir_all(&directory).expect("a directory for programs");
        for name in ["bottle-egress", "bottle-pipelock", "bottle-supervise"] {
            let status = Command::new("strip").arg(beside.with_file_name(name)).arg("-o").arg(directory.join(name)).status();
            assert!(status.expect("strip runs").success(), "{name} is made by `cargo build --workspace`");
        }
        directory
    });
    engine.under(bottle).env("BOTTLE_LIBEXEC", programs)
}

/// Panics if the engine has anything of this operator's bottles.
#[track_caller]
pub(crate) fn is_gone(place: Place, bottle: &Bottle) {
    if let Some(engine) = place {
        let left = engine.objects(Some(&owner(bottle)));
        assert!(left.is_empty(), "{} still has {left:#?}", engine.name);
    }
}

/// The label of this operator's objects.
pub(crate) fn owner(bottle: &Bottle) -> String {
    bottle::backend::compose::owner(&bottle.path().join("state/bottle"))
}

/// The agent, its bottle, and with both the id: a word that no output holds by chance, as ids are replaced in it.
pub(crate) const NAME: &str = "walled";

/// One far end, one bottle and one agent [`NAME`].
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) origin: Origin,
    pub(crate) bottle: Bottle,
    /// What the proxy puts in.
    pub(crate) token: Canary,
    routes: String,
    settings: String,
}

impl World {
    /// Without routes yet.
    pub(crate) fn new(user: Option<u32>) -> Self {
        Self::with_origin(user, &[])
    }

    /// The same, with arguments for the far end.
    pub(crate) fn with_origin(user: Option<u32>, arguments: &[&str]) -> Self {
        Self::made(None, user, arguments)
    }

    /// On an engine, or embedded. The far end is then beyond the engine's host.
    pub(crate) fn on(place: Place, user: Option<u32>) -> Self {
        Self::made(place, user, &[])
    }

    fn made(place: Place, user: Option<u32>, arguments: &[&str]) -> Self {
        let beside = PathBuf::from(env!("CARGO_BIN_EXE_bottle"));
        for name in ["bottle-origin", "bottle-warden", "bottle-egress", "bottle-pipelock", "bottle-git-gate", "bottle-supervise"] {
            let program = beside.with_file_name(name);
            assert!(program.is_file(), "{} is missing: `cargo build --workspace` makes it", program.display());
        }
        let far = beside.with_file_name("bottle-origin");
        let origin = match place {
            None => Origin::spawn(&far, arguments),
            Some(engine) => Origin::spawn_in(engine.world(), WORLD, &far, arguments),
        };
        let origin = origin.expect("the far end serves");
        let token = Canary::like("the proxy's token", "ghp_");
        let mut bottle = under(place, Bottle::new(beside)).secret(TOKEN, &token).patience(Duration::from_secs(120));
        if let Some(user) = user {
            bottle = bottle.as_user(user);
        }
        // The far end's directory is closed to other users; the manifest names this copy.
        fs::copy(&origin.ready().ca, bottle.path().join("ca.pem")).expect("the far end has a certificate");
        Self { place, origin, bottle, token, routes: String::new(), settings: String::new() }
    }

    /// Panics if the engine has anything of this operator's bottles.
    #[track_caller]
    pub(crate) fn is_gone(&self) {
        is_gone(self.place, &self.bottle);
    }

    /// A route to the far end; `rest` are further fields of its row, as in `, auth: {…}`.
    pub(crate) fn route(mut self, host: &str, rest: &str) -> Self {
        let https = self.origin.ready().https;
        self.routes += &format!("    - {{ host: \"{host}\", connect: \"{https}\"{rest} }}\n");
        self
    }

    /// The same to where the far end has no TLS.
    pub(crate) fn plain_route(mut self, host: &str, rest: &str) -> Self {
        let http = self.origin.ready().http;
        self.routes += &format!("    - {{ host: \"{host}\", connect: \"{http}\"{rest} }}\n");
        self
    }

    /// Sets a variable of the operator's.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.bottle = self.bottle.env(name, value);
        self
    }

    /// A further line of the bottle's manifest.
    pub(crate) fn setting(mut self, line: &str) -> Self {
        self.settings += &format!("{line}\n");
        self
    }

    /// Runs in this of the bottle's own directories from here on.
    pub(crate) fn below(mut self, name: &str) -> Self {
        let directory = self.bottle.path().join(name);
        self.bottle = self.bottle.in_directory(directory);
        self
    }

    /// A file in the operator's working directory.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.bottle.path().join("work").join(name);
        fs::create_dir_all(path.parent().expect("it is below work")).expect("a directory for the file");
        fs::write(&path, text).expect("a file of the test");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        self
    }

    /// A copy of a directory in the operator's working directory: where the tests themselves lie below `/tmp`, a manifest may not show it.
    pub(crate) fn tree(self, name: &str, from: &Path) -> Self {
        let status = Command::new("cp").arg("-rL").arg(from).arg(self.bottle.path().join("work").join(name)).status();
        assert!(status.expect("cp runs").success());
        self
    }

    /// Writes the manifests; `provider` is a line of the agent's.
    pub(crate) fn ready(mut self, provider: &str) -> Self {
        let trust = self.bottle.path().join("ca.pem");
        let routes = if self.routes.is_empty() { " []\n".to_owned() } else { format!("\n{}", self.routes) };
        let manifest = format!("{}egress:\n  trust: [\"{}\"]\n  routes:{routes}", self.settings, trust.display());
        self.bottle =
            self.bottle.bottle(NAME, &manifest).agent(NAME, &format!("bottle: {NAME}\n{provider}"), "").patience(Duration::from_secs(120));
        self
    }

    /// Runs a script of the shell in the bottle.
    pub(crate) fn sh(&self, script: &str) -> Ended {
        self.bottle.run(["start", NAME, "--yes", "--headless", "--", "/bin/sh", "-c", script])
    }

    /// Its output; the script must succeed and bottle must say nothing.
    #[track_caller]
    pub(crate) fn said(&self, script: &str) -> String {
        let ended = self.sh(script);
        assert_eq!((ended.ending, ended.stderr.as_str()), (Ending::Code(0), ""), "{script}\n{}", ended.stdout);
        ended.stdout
    }

    /// The requests at the far end since the first `n`.
    pub(crate) fn since(&self, n: usize) -> Vec<Request> {
        self.origin.requests().split_off(n)
    }
}
