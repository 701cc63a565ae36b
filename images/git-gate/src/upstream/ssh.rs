//! Upstreams over SSH: one connection for each conversation, to a server whose key is known beforehand.

use std::borrow::Cow;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

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

use super::tunnel::Link;
use super::unreachable;
use crate::advert::Service;
use crate::harmless::one_line;

/// What upstream says on its standard error is shown up to here.
const MAX_STDERR_BYTES: usize = 2048;
/// Pieces of an answer that wait to be read.
const MAX_QUEUED_CHUNKS: usize = 8;

/// An upstream over SSH.
pub struct Ssh {
    link: Arc<Link>,
    host: Host,
    port: u16,
    user: String,
    path: String,
    host_key: PublicKey,
    identity: Arc<PrivateKey>,
    config: Arc<client::Config>,
}

/// Accepts one key.
struct Pinned(PublicKey);

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(matches!(offered, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.0.key_data()))
    }
}

impl Ssh {
    #[expect(clippy::too_many_arguments, reason = "each is one word of the configuration")]
    pub(super) fn new(
        link: Arc<Link>,
        host: Host,
        port: u16,
        user: &str,
        path: &str,
        host_key: &str,
        identity: &str,
        secrets: &Path,
    ) -> Result<Self, String> {
        let host_key = PublicKey::from_openssh(host_key).map_err(|error| format!("the host key of {host} cannot be read: {error}"))?;
        let text = secret::read(secrets, identity)?;
        let text = std::str::from_utf8(&text).map_err(|_| "the SSH identity is not text".to_owned())?;
        let identity = decode_secret_key(text, None).map_err(|error| format!("the SSH identity cannot be read: {error}"))?;
        // A server has several keys; it is asked for the one that is known.
        let key = match host_key.algorithm() {
            Algorithm::Rsa { .. } => vec![Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, Algorithm::Rsa { hash: Some(HashAlg::Sha256) }],
            other => vec![other],
        };
        let config = client::Config {
            preferred: Preferred { key: Cow::Owned(key), ..Preferred::default() },
            inactivity_timeout: Some(link.patience.idle),
            nodelay: true,
            ..client::Config::default()
        };
        Ok(Self {
            link,
            host,
            port,
            user: user.to_owned(),
            path: path.to_owned(),
            host_key,
            identity: Arc::new(identity),
            config: Arc::new(config),
        })
    }

    /// Runs a service with this request as its input; the answer is its output.
    pub(super) async fn run(&self, service: Service, version: u8, request: Body) -> Result<Body, Refused> {
        let connected = tokio::time::timeout(self.link.patience.connect, self.log_in()).await;
        let session = connected.map_err(|_| unreachable("no login in time"))??;
        let channel = session.channel_open_session().await.map_err(unreachable)?;
        if version > 0 {
            // A server that does not take it speaks the older protocol, which is as good.
            channel.set_env(false, "GIT_PROTOCOL", format!("version={version}")).await.map_err(unreachable)?;
        }
        channel.exec(false, command(service, &self.path)).await.map_err(unreachable)?;
        let (output, answer) = mpsc::channel(MAX_QUEUED_CHUNKS);
        tokio::spawn(converse(session, channel, request, output));
        Ok(Answer(answer).boxed())
    }

    async fn log_in(&self) -> Result<Handle<Pinned>, Refused> {
        let stream = self.link.tunnel(&self.host, self.port).await?;
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
            false => Err(Refused::new(Reason::UpstreamRefused, "upstream does not accept the SSH identity").place(Place::Upstream)),
        }
    }
}

/// What the server's shell is asked to run: one word for the path, whatever is in it.
fn command(service: Service, path: &str) -> String {
    // `/~user/x` is what URLs say for `~user/x`.
    let path = if path.starts_with("/~") { &path[1..] } else { path };
    format!("{} '{}'", service.name(), path.replace('\'', r"'\''"))
}

/// Feeds the request in and the answer out, until both have ended.
async fn converse(
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
        let mut said = Vec::new();
        let mut failed = None;
        while let Some(message) = reading.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    let Ok(()) = output.send(Ok(data)).await else { return };
                }
                ChannelMsg::ExtendedData { data, .. } => {
                    let room = MAX_STDERR_BYTES - said.len().min(MAX_STDERR_BYTES);
                    said.extend_from_slice(&data[..room.min(data.len())]);
                }
                ChannelMsg::ExitStatus { exit_status } if exit_status != 0 => failed = Some(exit_status),
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        if let Some(status) = failed {
            let words = one_line(&said, &Redactor::default());
            let refused =
                Refused::new(Reason::UpstreamRefused, format!("upstream ended with status {status}: {words}")).place(Place::Upstream);
            let _ = output.send(Err(refused.into())).await;
        }
    };
    tokio::pin!(read);
    tokio::select! {
        () = &mut read => {}
        written = write => {
            // A request that breaks off must not look whole: the connection ends with it.
            match written {
                Ok(()) => read.await,
                Err(error) => drop(output.send(Err(error)).await),
            }
        }
    }
    drop(session);
}

/// What a service writes.
struct Answer(mpsc::Receiver<Result<Bytes, BodyError>>);

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
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
