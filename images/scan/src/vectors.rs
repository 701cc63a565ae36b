//! What the searches and decoders in vectors share.

use fearless_simd::prelude::*;
use fearless_simd::{Simd, mask8x64, u8x64};

/// Bytes from `first` on, so many of them.
#[inline(always)]
pub(crate) fn within<S: Simd>(bytes: u8x64<S>, first: u8, count: u8) -> mask8x64<S> {
    (bytes - first).simd_lt(count)
}

/// The kinds of vectors that this processor has, and those of lesser ones.
#[cfg(test)]
pub(crate) fn levels() -> Vec<fearless_simd::Level> {
    use fearless_simd::Level;
    let own = Level::new();
    #[cfg(target_arch = "x86_64")]
    let lesser = [own.as_avx2().map(Level::Avx2), own.as_sse4_2().map(Level::Sse4_2), own.as_sse2().map(Level::Sse2)];
    #[cfg(not(target_arch = "x86_64"))]
    let lesser = [];
    std::iter::once(own).chain(lesser.into_iter().flatten()).collect()
}
