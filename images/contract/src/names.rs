//! Stable names, ports and paths inside a bottle, the same in every backend.

/// The agent's proxy, which intercepts TLS.
pub const EGRESS: (&str, u16) = ("egress", 9099);
/// The agent's proxy in a bottle without routes, and so without `egress`.
pub const PIPELOCK: (&str, u16) = ("pipelock", 8888);
/// The agent's git remotes.
pub const GIT_GATE: (&str, u16) = ("git-gate", 9420);
/// Begins the path of a rewritten URL at the gate: the repository's name follows, a colon, and whatever the URL had behind the name of the
/// upstream. Git rewrites by prefix, so that may belong to another repository; no name has a colon.
pub const REWRITTEN: &str = "/-/";
/// The MCP server through which the agent may request a grant.
pub const SUPERVISE: (&str, u16) = ("supervise", 9100);

/// Inside a sidecar: its configuration. A directory, so that the sidecar sees a rename in it.
pub const CONFIG_DIR: &str = "/run/bottle/config";
/// Inside a sidecar: one file for each secret slot, 0600, on tmpfs.
pub const SECRETS_DIR: &str = "/run/bottle/secrets";
/// Inside a sidecar: `cert.pem` (0644) and `key.pem` (0600) of its own certificate authority.
pub const CA_DIR: &str = "/run/bottle/ca";
/// Inside a sidecar: the unix sockets between sidecars.
pub const LINK_DIR: &str = "/run/bottle/link";
/// The socket in [`LINK_DIR`] on which `pipelock` serves its siblings.
pub const PIPELOCK_SOCKET: &str = "pipelock.sock";
/// The socket in [`LINK_DIR`] on which `supervise` takes its siblings' questions.
pub const SUPERVISE_SOCKET: &str = "supervise.sock";
/// File names in [`CA_DIR`].
pub const CA_CERT: &str = "cert.pem";
/// File names in [`CA_DIR`].
pub const CA_KEY: &str = "key.pem";

/// Names of listeners in `LISTEN_FDNAMES`.
pub mod listener {
    /// TCP, dialled by the agent.
    pub const AGENT: &str = "agent";
    /// A unix stream socket, dialled by the sibling sidecars.
    pub const LINK: &str = "link";
    /// No listener, but a connection to the supervisor.
    pub const SUPERVISOR: &str = "supervisor";
    /// TCP on port 80 of every local address, dialled by programs that know no proxy.
    pub const HTTP: &str = "http";
    /// The same on port 443.
    pub const HTTPS: &str = "https";
    /// Questions to the agent's resolver over UDP.
    pub const RESOLVER_UDP: &str = "resolver-udp";
    /// The same over TCP.
    pub const RESOLVER_TCP: &str = "resolver-tcp";
    /// A packet socket that receives the kernel's refusals of connections to [`crate::local::RECORDED_PORTS`], or an unbound socket where
    /// the kernel gives no packet socket.
    pub const REFUSALS: &str = "refusals";
}
