//! Bills of materials (CycloneDX 1.5, JSON), as they come with programs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use bottle_base::digest::sha256_hex;
use serde::Deserialize;

/// Bytes of a bill of materials at most.
pub(crate) const MAX_BILL_BYTES: u64 = 16 << 20;

/// The fields of a bill that tie it to a program.
#[derive(Deserialize)]
struct Bill {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    component: Component,
    #[serde(default)]
    properties: Vec<Property>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(default)]
    hashes: Vec<Hash>,
}

#[derive(Deserialize)]
struct Hash {
    alg: String,
    content: String,
}

#[derive(Deserialize)]
struct Property {
    name: String,
    value: String,
}

/// A bill of materials that belongs to a program of the image.
pub(crate) struct Materials {
    pub(crate) text: Vec<u8>,
    /// Toolchain and lock file, as the bill says.
    pub(crate) facts: BTreeMap<String, String>,
}

impl Materials {
    /// Reads a bill of materials; `None` if it was made for another program, or is none.
    pub(crate) fn read(file: File, program: &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        file.take(MAX_BILL_BYTES + 1).read_to_end(&mut text).ok().filter(|size| *size as u64 <= MAX_BILL_BYTES)?;
        let bill: Bill = serde_json::from_slice(&text).ok()?;
        let own = sha256_hex(program);
        bill.metadata.component.hashes.iter().find(|hash| hash.alg == "SHA-256" && hash.content == own)?;
        let facts = bill.metadata.properties.into_iter().filter_map(|p| Some((p.name.strip_prefix("bottle:")?.to_owned(), p.value)));
        Some(Self { facts: facts.collect(), text })
    }
}
