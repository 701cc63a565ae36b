//! The one place where the TLS provider is chosen; every configuration names it explicitly.

use std::sync::{Arc, LazyLock};

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};

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
