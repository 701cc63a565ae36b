//! The bottle's secrets as keyed fingerprints: sidecars recognise the secrets by them, and cannot read the secrets from them.
//!
//! `bottle_scan` computes and matches fingerprints. This is their form in a configuration.

use serde::{Deserialize, Serialize};

/// Fingerprints of all secrets of one bottle. No `Debug` of the key: whoever has it can confirm a guess.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprints {
    /// The key of all hashes, random for each bottle.
    #[serde(with = "hexadecimal")]
    pub key: [u8; 32],
    /// The encodings in which a secret may appear.
    pub forms: Vec<Form>,
}

/// The fingerprint of one encoding of one secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// It is the form of a part of a secret: the rest of the secret may stand beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub part: bool,
    /// The index of the encoding.
    pub kind: u8,
    /// The length in bytes.
    pub length: u32,
    /// The offset of the first window.
    pub at: u32,
    /// Hashes of successive windows, each one byte after the other.
    pub windows: Vec<u32>,
    /// The hash of the whole.
    #[serde(with = "hexadecimal")]
    pub digest: [u8; 32],
}

impl std::fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fingerprints({} forms)", self.forms.len())
    }
}

/// Thirty-two bytes as 64 lower-case digits.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(D::Error::custom("64 hexadecimal digits are expected"));
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(D::Error::custom)?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Fingerprints {
        let form = Form { part: false, kind: 0, length: 20, at: 6, windows: vec![7, 8], digest: [0xab; 32] };
        Fingerprints { key: [1; 32], forms: vec![form] }
    }

    #[test]
    fn fingerprints_are_read_as_they_are_written() {
        let text = serde_json::to_string(&one()).unwrap();
        let (key, digest) = ("01".repeat(32), "ab".repeat(32));
        let form = format!(r#"{{"kind":0,"length":20,"at":6,"windows":[7,8],"digest":"{digest}"}}"#);
        assert_eq!(text, format!(r#"{{"key":"{key}","forms":[{form}]}}"#));
        assert_eq!(serde_json::from_str::<Fingerprints>(&text).unwrap(), one());
        for wrong in [text.replacen("01", "0g", 1), text.replacen("01", "", 1), text.replacen("kind", "kid", 1), "7".into(), "{}".into()] {
            assert!(serde_json::from_str::<Fingerprints>(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_key_is_not_printed() {
        assert_eq!(format!("{:?}", one()), "Fingerprints(1 forms)");
    }
}
