//! Memory for the blocks of small objects, kept by the thread that freed it.
//!
//! A block is freed by whoever replaced or removed its object, which is as often as not another
//! thread than the one that allocated it; an allocator then has to take it back to where it came
//! from, under a lock. Here it serves the next object of that size on the thread that freed it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::ptr::NonNull;

use super::long_blocks::{self, FRONT, LONG};
use super::sync::AtomicU64;

/// The longest blocks that are kept, in words.
const LONGEST: usize = LONG - 1;
/// Blocks of one length that a thread keeps: a batch of retired ones, which come back together.
const KEPT: usize = 512;
/// Words that it keeps of one length at most, so that long blocks do not add up.
const KEPT_WORDS: usize = 16 * 1024;

thread_local! {
    static KEPT_BLOCKS: RefCell<Blocks> = const { RefCell::new(Blocks::NONE) };
}

/// Unused blocks by their length in words.
struct Blocks([Vec<NonNull<AtomicU64>>; LONGEST + 1]);

impl Blocks {
    const NONE: Self = Blocks([const { Vec::new() }; LONGEST + 1]);
}

impl Drop for Blocks {
    fn drop(&mut self) {
        for (length, blocks) in self.0.iter_mut().enumerate() {
            for block in blocks.drain(..) {
                // SAFETY: only `free` puts blocks here, whose length this is, and it owned them.
                unsafe { dealloc(block.as_ptr().cast(), layout(length)) };
            }
        }
    }
}

/// Memory for a block of `length` words, at least one. What it holds is undefined.
#[inline]
pub(super) fn allocate(length: usize) -> NonNull<AtomicU64> {
    if length <= LONGEST {
        // A thread that is ending has no blocks any more.
        let kept = KEPT_BLOCKS.try_with(|blocks| blocks.borrow_mut().0[length].pop());
        if let Ok(Some(block)) = kept {
            return block;
        }
    }
    if length >= LONG {
        return long_blocks::allocate(length).cast();
    }
    let layout = layout(length);
    // SAFETY: the layout has at least one word.
    let start = NonNull::new(unsafe { alloc(layout) }.cast::<AtomicU64>());
    start.unwrap_or_else(|| handle_alloc_error(layout))
}

/// Takes the memory of a block back.
///
/// # Safety
/// `block` came from [`allocate`] with the same length, and is the caller's alone.
#[inline]
pub(super) unsafe fn free(block: NonNull<AtomicU64>, length: usize) {
    if length <= LONGEST {
        let kept = KEPT_BLOCKS.try_with(|blocks| {
            let blocks = &mut blocks.borrow_mut().0[length];
            let room = blocks.len() < KEPT && blocks.len() * length < KEPT_WORDS;
            if room {
                blocks.push(block);
            }
            room
        });
        if kept == Ok(true) {
            return;
        }
    }
    if length >= LONG {
        // SAFETY: `allocate` got it there, and the caller does not use it any more.
        return unsafe { long_blocks::free(block.cast(), length) };
    }
    // SAFETY: `allocate` used the same layout.
    unsafe { dealloc(block.as_ptr().cast(), layout(length)) };
}

/// Bytes that the allocator takes for a block of so many: a word in front, in steps of two words, and
/// four at least, as the system's allocator on Linux has it. Others differ by some bytes.
#[inline]
pub(super) const fn footprint(bytes: usize) -> u64 {
    let taken = (bytes as u64 + 8).next_multiple_of(16);
    if taken < 32 { 32 } else { taken }
}

/// Bytes that a block of this length takes.
#[inline]
pub(super) fn bytes(length: usize) -> u64 {
    let front = if length >= LONG { FRONT } else { 0 };
    footprint(8 * (front + length))
}

fn layout(length: usize) -> Layout {
    Layout::array::<AtomicU64>(length).expect("lengths are below 2^32 words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_block_serves_the_next_object_of_its_size() {
        let block = allocate(3);
        // SAFETY: it came from `allocate` with this length, and is not used any more.
        unsafe { free(block, 3) };
        assert_ne!(allocate(4), block);
        assert_eq!(allocate(3), block);
    }

    #[test]
    fn a_thread_keeps_no_more_than_a_batch_and_leaves_nothing_behind() {
        std::thread::spawn(|| {
            let blocks: Vec<_> = (0..2 * KEPT).map(|_| allocate(2)).collect();
            for block in blocks {
                // SAFETY: as above.
                unsafe { free(block, 2) };
            }
            let kept = KEPT_BLOCKS.with(|blocks| blocks.borrow().0[2].len());
            assert_eq!(kept, KEPT);
        })
        .join()
        .expect("the thread ended");
    }
}
