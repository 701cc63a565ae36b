//! TLS towards origins: whom to trust, and a bad certificate in words.

use std::sync::Arc;

use anyhow::Context;
use bottle_wire::tls::{add_roots, provider, system_roots};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use bottle_policy::pipelock_policy::PipelockPolicy;

/// Client configurations for origins.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Offers HTTP/2 and HTTP/1.1.
    pub any: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone, as WebSockets need it.
    pub http1: Arc<ClientConfig>,
}

impl Trust {
    /// Reads the roots that `policy` names, next to the host's own, or Mozilla's where none are mounted in. A parent
    /// that intercepts takes the place of all public roots.
    pub fn new(policy: &PipelockPolicy) -> anyhow::Result<Self> {
        let mut roots = match policy.parent.as_ref().and_then(|parent| parent.ca.as_ref()) {
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                add_roots(&mut roots, ca)?;
                roots
            }
            None => system_roots(),
        };
        for file in &policy.trust {
            add_roots(&mut roots, file)?;
        }
        let config = |protocols: &[&[u8]]| -> anyhow::Result<_> {
            let mut config = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
                .context("TLS cannot be set up")?
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Ok(Arc::new(config))
        };
        Ok(Self { any: config(&[b"h2", b"http/1.1"])?, http1: config(&[b"http/1.1"])? })
    }
}

/// What was wrong with a handshake, in words that an agent can act on.
pub fn in_words(error: &rustls::Error) -> String {
    use CertificateError as C;
    let why = match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            C::Expired | C::ExpiredContext { .. } => "its certificate has expired",
            C::NotValidYet | C::NotValidYetContext { .. } => "its certificate is not valid yet",
            C::UnknownIssuer => "its certificate is signed by an authority that is not trusted, or by itself",
            C::NotValidForName | C::NotValidForNameContext { .. } => "its certificate is for another name",
            C::Revoked => "its certificate has been revoked",
            C::BadSignature => "its certificate's signature does not hold",
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => "its certificate is not for servers",
            C::BadEncoding => "its certificate cannot be read",
            other => return format!("its certificate was refused: {other}"),
        },
        rustls::Error::PeerIncompatible(_) => "it offers no version or cipher that is still safe (TLS 1.2 is the oldest)",
        rustls::Error::AlertReceived(alert) => return format!("it ended the handshake: {alert:?}"),
        other => return format!("the TLS handshake failed: {other}"),
    };
    why.to_owned()
}
