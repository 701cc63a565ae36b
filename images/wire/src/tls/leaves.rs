//! Leaf certificates, signed by the bottle's own authority when a host is first asked for.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bottle_authority::Authority;
use bottle_contract::host::Host;
use bottle_contract::names::{CA_CERT, CA_KEY};
use lru::LruCache;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs};

/// Hosts whose leaf is cached. An entry is about 3 kB, and most agents talk to a few dozen hosts.
const MAX_LEAVES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Some clients' clocks lag, and a bottle's authority is minutes old.
const BACKDATING: Duration = Duration::days(1);
/// Far longer than a bottle lives, well below the 398 days that clients accept.
const LIFETIME: Duration = Duration::days(30);
/// A leaf this close to its end is not handed out any more.
const EXPIRY_MARGIN: Duration = Duration::hours(1);

/// The bottle's certificate authority and the leaves that it has signed.
pub struct LeafAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    /// One key for all leaves, made at the start, never the authority's.
    leaf_key: KeyPair,
    signer: Arc<dyn SigningKey>,
    leaves: Mutex<LruCache<Host, Leaf>>,
}

#[derive(Clone)]
struct Leaf {
    config: Arc<ServerConfig>,
    not_after: OffsetDateTime,
}

impl LeafAuthority {
    /// Reads `cert.pem` and `key.pem` in `dir`.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).with_context(|| format!("cannot read the authority's {name}"));
        Self::from_pem(&read(CA_CERT)?, &read(CA_KEY)?)
    }

    /// From PEM texts. Errors never show the key.
    pub fn from_pem(certificate: &str, key: &str) -> anyhow::Result<Self> {
        let Authority { certificate, key, not_before, not_after } = Authority::from_pem(certificate, key).map_err(anyhow::Error::msg)?;
        let certificate = CertificateDer::from(certificate);
        let issuer = Issuer::from_ca_cert_der(&certificate, key).ok().context("the authority's certificate cannot be used for signing")?;
        let leaf_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).ok().context("no key for leaves can be made")?;
        let signer = aws_lc_rs::sign::any_ecdsa_type(&PrivatePkcs8KeyDer::from(leaf_key.serialize_der()).into())
            .ok()
            .context("the key for leaves cannot sign")?;
        Ok(Self { issuer, certificate, not_before, not_after, leaf_key, signer, leaves: Mutex::new(LruCache::new(MAX_LEAVES)) })
    }

    /// The TLS configuration that answers as `host`.
    pub(crate) fn config(&self, host: &Host) -> Result<Arc<ServerConfig>, String> {
        let now = OffsetDateTime::now_utc();
        let lock = || self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = lock().get(host).filter(|leaf| leaf.not_after - EXPIRY_MARGIN > now) {
            return Ok(leaf.config.clone());
        }
        // Signed outside of the lock; two connections that ask at the same time both get a valid leaf.
        let leaf = self.leaf(host, now)?;
        lock().put(host.clone(), leaf.clone());
        Ok(leaf.config)
    }

    /// How many leaves are cached.
    pub fn cached(&self) -> usize {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn leaf(&self, host: &Host, now: OffsetDateTime) -> Result<Leaf, String> {
        let not_after = (now + LIFETIME).min(self.not_after);
        if not_after <= now || self.not_before > now {
            return Err("the authority's certificate is not valid now".into());
        }
        let mut params = CertificateParams::default();
        params.not_before = (now - BACKDATING).max(self.not_before);
        params.not_after = not_after;
        params.serial_number = Some(random_serial()?);
        params.distinguished_name = common_name(host);
        params.subject_alt_names = vec![alternative_name(host)?];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.key_identifier_method = KeyIdMethod::PreSpecified(subject_key_identifier(&self.leaf_key));
        let certificate = params.signed_by(&self.leaf_key, &self.issuer).map_err(|error| format!("no leaf could be signed: {error}"))?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        Ok(Leaf { config: Arc::new(self.server_config(CertifiedKey::new(chain, self.signer.clone()))?), not_after })
    }

    fn server_config(&self, leaf: CertifiedKey) -> Result<ServerConfig, String> {
        let mut config = ServerConfig::builder_with_provider(crate::tls::interception_provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Always(Arc::new(leaf))));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // No resumption: no ticket keys to leak or to share, and nothing cached for each connection.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }
}

impl std::fmt::Debug for LeafAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeafAuthority").field("cached", &self.cached()).finish_non_exhaustive()
    }
}

/// Answers with one certificate, whatever name the client sent: the name has been compared before.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: tokio_rustls::rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// 16 random bytes, positive and without a leading zero (RFC 5280, section 4.1.2.2).
fn random_serial() -> Result<SerialNumber, String> {
    let mut bytes = [0; 16];
    ::aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the kernel gives no randomness")?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Empty where the host is longer than the 64 characters of a common name (RFC 5280, appendix A.1).
fn common_name(host: &Host) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    let text = match host {
        Host::Name(name) => name.clone(),
        Host::Ip(address) => address.to_string(),
    };
    if text.len() <= 64 {
        name.push(DnType::CommonName, text);
    }
    name
}

fn alternative_name(host: &Host) -> Result<SanType, String> {
    Ok(match host {
        Host::Name(name) => SanType::DnsName(name.as_str().try_into().map_err(|_| "the host is no DNS name")?),
        Host::Ip(IpAddr::V4(address)) => SanType::IpAddress(IpAddr::V4(*address)),
        Host::Ip(IpAddr::V6(address)) => SanType::IpAddress(IpAddr::V6(*address)),
    })
}

/// SHA-1 of the public key's bits (RFC 5280, section 4.2.1.2, method 1), as OpenSSL's `hash` does.
fn subject_key_identifier(key: &KeyPair) -> Vec<u8> {
    ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, key.der_bytes()).as_ref().to_vec()
}
