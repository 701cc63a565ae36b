//! A certificate authority, read from its two PEM files: for the sidecars, which sign with it, and for `bottle check`, which only reads it.

#![forbid(unsafe_code)]

use rcgen::{KeyPair, PublicKeyData};
use time::OffsetDateTime;

/// A certificate and the key that belongs to it.
#[derive(Debug)]
pub struct Authority {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: KeyPair,
    /// The start of its validity.
    pub not_before: OffsetDateTime,
    /// The end of its validity.
    pub not_after: OffsetDateTime,
}

impl Authority {
    /// Parses both files, and checks that the key belongs to the certificate. Errors never show the key.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, String> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).map_err(|_| "the authority's certificate is not PEM")?;
        let parsed = pem.parse_x509().map_err(|_| "the authority's certificate is not X.509")?;
        if !parsed.is_ca() {
            return Err("the authority's certificate may not sign others".into());
        }
        let (not_before, not_after) = (parsed.validity().not_before.to_datetime(), parsed.validity().not_after.to_datetime());
        let key = KeyPair::from_pem(key).map_err(|_| "the authority's key cannot be read")?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
            return Err("the authority's key does not belong to its certificate".into());
        }
        drop(parsed);
        Ok(Self { certificate: pem.contents, key, not_before, not_after })
    }
}
