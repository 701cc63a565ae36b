//! Requests that a client has compressed: git does so with long lists of what it has.

use zlib_rs::{Inflate, InflateFlush, Status};

/// Undoes gzip. More than `most` bytes are refused.
pub fn gunzip(bytes: &[u8], most: usize) -> Result<Vec<u8>, &'static str> {
    // 16 more than the window's size: a gzip header instead of zlib's (zlib.h, inflateInit2).
    let mut inflate = Inflate::new(true, 15 + 16);
    let mut piece = vec![0; 64 << 10];
    let mut out = Vec::new();
    loop {
        let used = usize::try_from(inflate.total_in()).unwrap_or(usize::MAX).min(bytes.len());
        let before = inflate.total_out();
        let status = inflate.decompress(&bytes[used..], &mut piece, InflateFlush::NoFlush).map_err(|_| "it is not gzip")?;
        let new = usize::try_from(inflate.total_out() - before).unwrap_or(0);
        if out.len() + new > most {
            return Err("it is too long");
        }
        out.extend_from_slice(&piece[..new]);
        match status {
            Status::StreamEnd if inflate.total_in() == bytes.len() as u64 => return Ok(out),
            Status::StreamEnd => return Err("something follows its end"),
            _ if new == 0 && inflate.total_in() == used as u64 => return Err("it is cut off"),
            _ => {}
        }
    }
}
