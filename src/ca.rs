//! A bottle's own certificate authorities: one for each sidecar that intercepts, made at its start and gone with it.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SerialNumber,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::error::{Error, OrFail, Result};

/// Back-dated by this much, for clocks inside the bottle that are behind.
const BACKDATED: Duration = Duration::from_secs(24 * 60 * 60);
/// A bottle lives shorter than this.
const VALIDITY: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The longest common name (RFC 5280, appendix A, ub-common-name).
const MAX_NAME_LENGTH: usize = 64;

/// A certificate authority: the certificate that the agent trusts, and the key that one sidecar signs with.
pub struct Authority {
    /// The certificate, for everybody.
    pub cert_pem: String,
    /// The key, for one sidecar; wiped when dropped.
    pub key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a P-256 authority that may sign leaves and revocation lists and nothing else: path length 0, valid from a day before `now`
    /// for thirty days. Its key identifier is the SHA-1 of the public key, as OpenSSL's `hash` (RFC 5280, 4.2.1.2, method 1), so that
    /// every library finds the same issuer.
    pub fn generate(common_name: &str, now: SystemTime) -> Result<Self> {
        if common_name.is_empty() || common_name.chars().count() > MAX_NAME_LENGTH {
            let cause = format!("it has {} characters, and X.509 takes 1 to {MAX_NAME_LENGTH}", common_name.chars().count());
            return Err(Error::failed("an authority's name has a wrong length", cause, "choose a shorter bottle name"));
        }
        Self::signed(common_name, now).or_bug("cannot make a certificate authority")
    }

    fn signed(common_name: &str, now: SystemTime) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serial_number = Some(serial()?);
        // Whole seconds, which is all that X.509 can say.
        let from = OffsetDateTime::from(now - BACKDATED).replace_nanosecond(0).map_err(|_| rcgen::Error::Time)?;
        params.not_before = from;
        params.not_after = from + BACKDATED + VALIDITY;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ski = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key.der_bytes());
        params.key_identifier_method = KeyIdMethod::PreSpecified(ski.as_ref().to_vec());
        let certificate = params.self_signed(&key)?;
        Ok(Self { cert_pem: certificate.pem(), key_pem: Zeroizing::new(key.serialize_pem()) })
    }
}

/// A random positive serial number that fills 20 octets, the most that RFC 5280 (4.1.2.2) allows.
fn serial() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0; 20];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
