//! Decompresses requests: git clients compress long lists of the objects that they have.

use zlib_rs::{Inflate, InflateFlush, Status};

/// Decompresses gzip, to at most `max` bytes.
pub fn gunzip(bytes: &[u8], max: usize) -> Result<Vec<u8>, &'static str> {
    // 16 more than the window's size: a gzip header instead of zlib's (zlib.h, inflateInit2).
    let mut inflate = Inflate::new(true, 15 + 16);
    let mut chunk = vec![0; 64 << 10];
    let mut out = Vec::new();
    loop {
        let used = usize::try_from(inflate.total_in()).unwrap_or(usize::MAX).min(bytes.len());
        let before = inflate.total_out();
        let status = inflate.decompress(&bytes[used..], &mut chunk, InflateFlush::NoFlush).map_err(|_| "it is not gzip")?;
        let new = usize::try_from(inflate.total_out() - before).unwrap_or(0);
        if out.len() + new > max {
            return Err("it is too long");
        }
        out.extend_from_slice(&chunk[..new]);
        match status {
            Status::StreamEnd if inflate.total_in() == bytes.len() as u64 => return Ok(out),
            Status::StreamEnd => return Err("something follows its end"),
            _ if new == 0 && inflate.total_in() == used as u64 => return Err("it is cut off"),
            _ => {}
        }
    }
}
