//! Upstreams over SSH: one connection per service run, to a server whose key the bottle names.

use std::borrow::Cow;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use bottle_contract::host::Host;
use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::secret::{self, Redactor};
use bottle_wire::{Body, BodyError, Refused};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use russh::client::{self, Handle};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, decode_secret_key};
use russh::{ChannelMsg, Preferred};
use tokio::sync::mpsc;

use super::tunnel::TunnelDialer;
use super::unreachable;
use crate::advert::Service;
use crate::escape::escape_for_terminal;

/// The rest of upstream's standard error is dropped.
const MAX_STDERR_BYTES: usize = 2048;
/// Pieces of an answer that wait to be read.
const MAX_QUEUED_CHUNKS: usize = 8;

/// An upstream over SSH.
pub struct Ssh {
    dialer: Arc<TunnelDialer>,
    host: Host,
    port: u16,
    user: String,
    path: String,
    host_key: PublicKey,
    identity: Arc<PrivateKey>,
    config: Arc<client::Config>,
}

/// Accepts one host key.
struct Pinned(PublicKey);

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(matches!(offered, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.0.key_data()))
    }
}

impl Ssh {
    #[expect(clippy::too_many_arguments, reason = "each is one field of the configuration")]
    pub(super) fn new(
        dialer: Arc<TunnelDialer>,
        host: Host,
        port: u16,
        user: &str,
        path: &str,
        host_key: &str,
        identity: &str,
        secrets: &Path,
    ) -> anyhow::Result<Self> {
        let host_key = PublicKey::from_openssh(host_key).with_context(|| format!("the host key of {host} cannot be read"))?;
        let text = secret::read(secrets, identity)?;
        let text = std::str::from_utf8(&text).ok().context("the SSH identity is not text")?;
        let identity = decode_secret_key(text, None).context("the SSH identity cannot be read")?;
        // A server has several keys: request the pinned one.
        let key = match host_key.algorithm() {
            Algorithm::Rsa { .. } => vec![Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, Algorithm::Rsa { hash: Some(HashAlg::Sha256) }],
            other => vec![other],
        };
        let config = client::Config {
            preferred: Preferred { key: Cow::Owned(key), ..Preferred::default() },
            inactivity_timeout: Some(dialer.timeouts.idle),
            nodelay: true,
            ..client::Config::default()
        };
        Ok(Self {
            dialer,
            host,
            port,
            user: user.to_owned(),
            path: path.to_owned(),
            host_key,
            identity: Arc::new(identity),
            config: Arc::new(config),
        })
    }

    /// Runs a service with this request as its input, and returns its output.
    pub(super) async fn run(&self, service: Service, version: u8, request: Body) -> Result<Body, Refused> {
        let connected = tokio::time::timeout(self.dialer.timeouts.connect, self.log_in()).await;
        let session = connected.map_err(|_| unreachable("no login in time"))??;
        let channel = session.channel_open_session().await.map_err(unreachable)?;
        if version > 0 {
            // A server that ignores it uses the older protocol, which works too.
            channel.set_env(false, "GIT_PROTOCOL", format!("version={version}")).await.map_err(unreachable)?;
        }
        channel.exec(false, command(service, &self.path)).await.map_err(unreachable)?;
        let (sender, receiver) = mpsc::channel(MAX_QUEUED_CHUNKS);
        tokio::spawn(relay(session, channel, request, sender));
        Ok(ChannelBody(receiver).boxed())
    }

    async fn log_in(&self) -> Result<Handle<Pinned>, Refused> {
        let stream = self.dialer.tunnel(&self.host, self.port).await?;
        let connected = client::connect_stream(self.config.clone(), stream, Pinned(self.host_key.clone())).await;
        let mut session = connected.map_err(|error| match error {
            russh::Error::UnknownKey | russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, .. } => {
                Refused::new(Reason::UpstreamTls, "the server does not have the host key that the bottle names").place(Place::Upstream)
            }
            error => unreachable(error),
        })?;
        let hash = match self.identity.algorithm() {
            Algorithm::Rsa { .. } => session.best_supported_rsa_hash().await.map_err(unreachable)?.flatten().or(Some(HashAlg::Sha256)),
            _ => None,
        };
        let key = PrivateKeyWithHashAlg::new(self.identity.clone(), hash);
        let accepted = session.authenticate_publickey(self.user.clone(), key).await.map_err(unreachable)?;
        match accepted.success() {
            true => Ok(session),
            false => Err(Refused::new(Reason::UpstreamRefused, "upstream rejects the SSH identity").place(Place::Upstream)),
        }
    }
}

/// The command line for the server's shell, with the path quoted.
fn command(service: Service, path: &str) -> String {
    // URLs write `~user/x` as `/~user/x`.
    let path = if path.starts_with("/~") { &path[1..] } else { path };
    format!("{} '{}'", service.name(), path.replace('\'', r"'\''"))
}

/// Sends the request and receives the output, until both have ended.
async fn relay(
    session: Handle<Pinned>,
    channel: russh::Channel<client::Msg>,
    mut request: Body,
    output: mpsc::Sender<Result<Bytes, BodyError>>,
) {
    let (mut reading, writing) = channel.split();
    let write = async {
        while let Some(frame) = request.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            writing.data_bytes(data).await.map_err(|error| BodyError::Broken(Box::new(error)))?;
        }
        writing.eof().await.map_err(|error| BodyError::Broken(Box::new(error)))
    };
    let read = async {
        let mut stderr = Vec::new();
        let mut failed = None;
        while let Some(message) = reading.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    let Ok(()) = output.send(Ok(data)).await else { return };
                }
                ChannelMsg::ExtendedData { data, .. } => {
                    let room = MAX_STDERR_BYTES - stderr.len().min(MAX_STDERR_BYTES);
                    stderr.extend_from_slice(&data[..room.min(data.len())]);
                }
                ChannelMsg::ExitStatus { exit_status } if exit_status != 0 => failed = Some(exit_status),
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        if let Some(status) = failed {
            let text = escape_for_terminal(&stderr, &Redactor::default());
            let refused =
                Refused::new(Reason::UpstreamRefused, format!("upstream exited with status {status}: {text}")).place(Place::Upstream);
            let _ = output.send(Err(refused.into())).await;
        }
    };
    tokio::pin!(read);
    tokio::select! {
        () = &mut read => {}
        written = write => {
            // A request that breaks off must not look complete, so the connection closes.
            match written {
                Ok(()) => read.await,
                Err(error) => drop(output.send(Err(error)).await),
            }
        }
    }
    drop(session);
}

/// A service's output.
struct ChannelBody(mpsc::Receiver<Result<Bytes, BodyError>>);

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: G08
    #[test]
    fn a_path_is_one_word_for_the_servers_shell() {
        let command = |path| command(Service::UploadPack, path);
        assert_eq!(command("/acme/app.git"), "git-upload-pack '/acme/app.git'");
        assert_eq!(command("/~ann/app.git"), "git-upload-pack '~ann/app.git'");
        assert_eq!(command("/a'; rm -rf '/"), r"git-upload-pack '/a'\''; rm -rf '\''/'");
    }
}
