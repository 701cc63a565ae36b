//! The memory of a sidecar: its allocator, and when what was free goes back to the kernel.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned};

/// Many short-lived allocations of a few sizes are what a proxy does between two system calls.
#[global_allocator]
static ALLOCATOR: Mimalloc = Mimalloc;

/// What every block is aligned to, if it is that large (`MI_MAX_ALIGN_SIZE` in mimalloc's types.h); a smaller one is to a word.
const BLOCK: usize = 16;
const WORD: usize = size_of::<usize>();

/// mimalloc, whose functions for alignment are only called where one is asked for that every block does not have: they take several times
/// as long, and often more memory.
struct Mimalloc;

const fn is_common(size: usize, align: usize) -> bool {
    align <= WORD || (align <= BLOCK && align <= size)
}

// SAFETY: blocks are as large and as aligned as they are asked for, and each function takes what any of the others gave.
unsafe impl GlobalAlloc for Mimalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size and any power of two may be asked for.
        unsafe { if is_common(size, align) { mi_malloc(size) } else { mi_malloc_aligned(size, align) } }.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size and any power of two may be asked for.
        unsafe { if is_common(size, align) { mi_zalloc(size) } else { mi_zalloc_aligned(size, align) } }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller has it from here.
        unsafe { mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        // SAFETY: the caller has it from here.
        unsafe { if is_common(size, align) { mi_realloc(block.cast(), size) } else { mi_realloc_aligned(block.cast(), size, align) } }
            .cast()
    }
}

/// Gives back what only a start or a new table needed: rules are compiled in many times the memory that they are kept in.
pub(crate) fn give_back() {
    // SAFETY: it takes no pointer, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Several, as the first of a page may be aligned by chance.
    fn blocks(layout: Layout) -> Vec<*mut u8> {
        // SAFETY: the size is not zero.
        (0..8).map(|at| unsafe { if at % 2 == 0 { Mimalloc.alloc(layout) } else { Mimalloc.alloc_zeroed(layout) } }).collect()
    }

    fn all_are(block: *const u8, size: usize, byte: u8) -> bool {
        // SAFETY: the block is that large, and was written.
        unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|&each| each == byte)
    }

    #[test]
    fn every_block_is_aligned_as_asked_for_and_stays_so_when_it_grows_and_shrinks() {
        for align in (0..8).map(|power| 1 << power) {
            for size in (1..200).chain([256, 1000, 4096, 5000, 70_000, 1 << 20, (4 << 20) + 1]) {
                let layout = |size| Layout::from_size_align(size, align).unwrap();
                for (at, block) in blocks(layout(size)).into_iter().enumerate() {
                    assert!(block.addr().is_multiple_of(align) && (at % 2 == 0 || all_are(block, size, 0)), "{size} {align}");
                    // SAFETY: each block is used with the layout that it has then.
                    unsafe {
                        block.write_bytes(0xa5, size);
                        let grown = Mimalloc.realloc(block, layout(size), size + 9);
                        assert!(grown.addr().is_multiple_of(align) && all_are(grown, size, 0xa5), "{size} {align}");
                        let shrunk = Mimalloc.realloc(grown, layout(size + 9), size.div_ceil(2));
                        assert!(shrunk.addr().is_multiple_of(align) && all_are(shrunk, size.div_ceil(2), 0xa5), "{size} {align}");
                        Mimalloc.dealloc(shrunk, layout(size.div_ceil(2)));
                    }
                }
            }
        }
    }
}
