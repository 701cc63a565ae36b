//! A certificate for the demonstration's host, and the authority that signed it. Their keys are in this process alone.

use bottle_contract::demo::HOST;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// The authority's certificate, as PEM, and a server that has a leaf of it.
pub(crate) fn server() -> anyhow::Result<(String, ServerConfig)> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "bottle demonstration");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // Longer than the leaf's on both ends: a leaf must not outlive its authority.
    (params.not_before, params.not_after) = around_now(Duration::days(3));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);

    let mut params = CertificateParams::new(vec![HOST.to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = around_now(Duration::days(2));
    let key = KeyPair::generate()?;
    let leaf = params.signed_by(&key, &issuer)?;

    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((certificate, config))
}

/// From `reach` before now to `reach` after it, so that a clock that is a day off does no harm.
fn around_now(reach: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - reach, now + reach)
}
