//! TLS towards origins: whom to trust, and a bad certificate in words.

use std::path::Path;
use std::sync::Arc;

use bottle_wire::tls::provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};

use bottle_policy::table::Table;

/// Client configurations for origins.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Offers HTTP/2 and HTTP/1.1.
    pub any: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone, as WebSockets need it.
    pub http1: Arc<ClientConfig>,
}

impl Trust {
    /// Reads the roots that `table` names, next to the host's own, or Mozilla's where none are mounted in. A parent
    /// that intercepts takes the place of all public roots.
    pub fn new(table: &Table) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match table.parent.as_ref().and_then(|parent| parent.ca.as_ref()) {
            Some(ca) => add_file(&mut roots, ca)?,
            None => add_system(&mut roots),
        }
        for file in &table.trust {
            add_file(&mut roots, file)?;
        }
        let config = |protocols: &[&[u8]]| -> Result<_, String> {
            let mut config = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
                .map_err(|e| e.to_string())?
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Ok(Arc::new(config))
        };
        Ok(Self { any: config(&[b"h2", b"http/1.1"])?, http1: config(&[b"http/1.1"])? })
    }
}

fn add_file(roots: &mut RootCertStore, path: impl AsRef<Path>) -> Result<(), String> {
    let path = path.as_ref();
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let mut count = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))? {
        roots.add(certificate.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
        count += 1;
    }
    if count == 0 { Err(wrong(&"holds no certificate")) } else { Ok(()) }
}

fn add_system(roots: &mut RootCertStore) {
    // Unreadable files in the host's directory are the host's affair: what can be read counts.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
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
