//! Secrets: read from their slots, wiped when dropped, never shown.

use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

/// A longer secret is a mistake.
const MOST: u64 = 64 * 1024;

/// Reads the secret of a slot, without the newline at its end.
pub fn read(directory: &Path, slot: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let fail = |why: &str| format!("the secret in slot {slot:?} {why}");
    let plain = !slot.is_empty() && !slot.starts_with('.') && slot.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !plain {
        return Err(fail("has no plain file name"));
    }
    let file = std::fs::File::open(directory.join(slot)).map_err(|error| fail(&format!("cannot be read: {error}")))?;
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(MOST as usize + 1));
    file.take(MOST + 1).read_to_end(&mut secret).map_err(|error| fail(&format!("cannot be read: {error}")))?;
    if secret.len() as u64 > MOST {
        return Err(fail("is too large"));
    }
    while matches!(secret.last(), Some(b'\n' | b'\r')) {
        secret.pop();
    }
    if secret.is_empty() { Err(fail("is empty")) } else { Ok(Zeroizing::new(secret.to_vec())) }
}
