//! The one place where the TLS provider is chosen, which every configuration names explicitly; and whom to trust.

pub mod leaves;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use anyhow::{Context, ensure};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// For connections to origins and next hops: rustls' defaults, with post-quantum key exchange first.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// For intercepted connections: the same, X25519 first. They never leave the machine, and X25519 is a quarter of the
/// handshake's cost of the hybrid; a client that offers only the hybrid still gets it.
pub(crate) fn interception_provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::SECP256R1,
            aws_lc_rs::kx_group::SECP384R1,
            aws_lc_rs::kx_group::X25519MLKEM768,
        ];
        Arc::new(provider)
    });
    PROVIDER.clone()
}

/// The host's own roots where they are mounted in, else Mozilla's. Unreadable files in the host's directory are the
/// host's affair: what can be read counts.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// Adds every certificate of a PEM file, of which there must be one.
pub fn add_roots(roots: &mut RootCertStore, path: impl AsRef<Path>) -> anyhow::Result<()> {
    let path = path.as_ref();
    let place = || path.display().to_string();
    let mut count = 0;
    for certificate in CertificateDer::pem_file_iter(path).with_context(place)? {
        roots.add(certificate.with_context(place)?).with_context(place)?;
        count += 1;
    }
    ensure!(count > 0, "{}: holds no certificate", path.display());
    Ok(())
}
