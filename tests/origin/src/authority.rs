//! The test authority: a leaf for every name that a client asks for, and for a few names a leaf that must be refused.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

/// The leaf for this name ended yesterday.
const EXPIRED: &str = "expired.test";
/// The leaf for this name is another's.
const WRONG_NAME: &str = "wrong-name.test";
/// The leaf for this name is signed by its own key.
const SELF_SIGNED: &str = "self-signed.test";

/// What a client that sends no name is served.
const UNNAMED: [&str; 2] = ["127.0.0.1", "localhost"];

/// Signs leaves on demand. The key lives as long as the process and is on no disk.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    provider: Arc<CryptoProvider>,
    certificate: String,
    leaves: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Authority {
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "bottle test origin");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Longer than the leaves' on both ends: a leaf must not outlive its authority.
        (params.not_before, params.not_after) = around_now(Duration::days(3));
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let provider = Arc::new(aws_lc_rs::default_provider());
        Ok(Self { issuer: Issuer::new(params, key), provider, certificate, leaves: Mutex::default() })
    }

    /// The certificate that clients are to trust, as PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3 with this authority's leaves.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn leaf(&self, name: Option<&str>) -> Result<Arc<CertifiedKey>, Failure> {
        let key = name.unwrap_or_default().to_owned();
        // A poisoned lock only means that another connection's leaf failed.
        if let Some(leaf) = self.leaves.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(leaf.clone());
        }
        let leaf = Arc::new(self.sign(name)?);
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner).insert(key, leaf.clone());
        Ok(leaf)
    }

    fn sign(&self, name: Option<&str>) -> Result<CertifiedKey, Failure> {
        let names: Vec<String> = match name {
            None => UNNAMED.map(str::to_owned).to_vec(),
            Some(WRONG_NAME) => vec!["another.test".to_owned()],
            Some(name) => vec![name.to_owned()],
        };
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "bottle test leaf");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = around_now(Duration::days(2));
        if name == Some(EXPIRED) {
            params.not_after = OffsetDateTime::now_utc() - Duration::days(1);
        }
        let key = KeyPair::generate()?;
        let certificate = if name == Some(SELF_SIGNED) { params.self_signed(&key)? } else { params.signed_by(&key, &self.issuer)? };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = self.provider.key_provider.load_private_key(key)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
    }
}

/// From `reach` before now to `reach` after it, so that a clock that is a day off does no harm.
fn around_now(reach: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - reach, now + reach)
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.leaf(hello.server_name()).ok()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}
