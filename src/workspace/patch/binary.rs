//! Binary files in a patch, as git writes them: deflated, in its own base 85.

use std::io::{self, Write};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::digest::hex;

/// The digits (base85.c of git).
const DIGITS: &[u8; 85] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
/// Bytes of one line.
const LINE: usize = 52;

/// What git calls this content.
pub(super) fn blob_id(content: &[u8]) -> String {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("blob {}\0", content.len()).as_bytes());
    context.update(content);
    hex(context.finish().as_ref())
}

/// Both ways, so that the patch can be taken back.
pub(super) fn write(old: &[u8], new: &[u8], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "GIT binary patch")?;
    for content in [new, old] {
        writeln!(out, "literal {}", content.len())?;
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content)?;
        for line in encoder.finish()?.chunks(LINE) {
            let length = u8::try_from(line.len()).unwrap_or(0);
            out.write_all(&[if length <= 26 { b'A' + length - 1 } else { b'a' + length - 27 }])?;
            for group in line.chunks(4) {
                let mut bytes = [0; 4];
                bytes[..group.len()].copy_from_slice(group);
                let mut number = u32::from_be_bytes(bytes);
                let mut digits = [0; 5];
                for digit in digits.iter_mut().rev() {
                    *digit = DIGITS[(number % 85) as usize];
                    number /= 85;
                }
                out.write_all(&digits)?;
            }
            writeln!(out)?;
        }
        writeln!(out)?;
    }
    Ok(())
}
