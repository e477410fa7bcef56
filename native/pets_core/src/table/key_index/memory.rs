//! Memory for leaves, kept by the thread that freed it.
//!
//! Every change of a leaf makes a new one, and what it replaced comes back some hundred changes
//! later, with a batch of others. Those serve the next leaves of their size.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::ptr::NonNull;

/// Sizes are rounded up to whole steps of so many words.
const STEP: usize = 4;
/// The largest blocks that are kept, in steps.
const LARGEST: usize = 36;
/// Words that a thread keeps, of all sizes together: most of what a batch of retired leaves brings.
const KEPT_WORDS: usize = 32 * 1024;

thread_local! {
    static KEPT: RefCell<Blocks> = const { RefCell::new(Blocks::NONE) };
}

/// Unused blocks by their size in steps.
struct Blocks {
    by_size: [Vec<NonNull<u64>>; LARGEST + 1],
    words: usize,
}

impl Blocks {
    const NONE: Self = Blocks { by_size: [const { Vec::new() }; LARGEST + 1], words: 0 };
}

impl Drop for Blocks {
    fn drop(&mut self) {
        for (steps, blocks) in self.by_size.iter_mut().enumerate() {
            for block in blocks.drain(..) {
                // SAFETY: only `free` puts blocks here, whose size this is, and it owned them.
                unsafe { dealloc(block.as_ptr().cast(), layout(steps)) };
            }
        }
    }
}

/// The size that a block of at least `words` words has, in words.
pub(super) fn rounded(words: usize) -> usize {
    words.div_ceil(STEP) * STEP
}

/// Memory for `words` words, a number that [`rounded`] answered. What it holds is undefined.
#[inline]
pub(super) fn allocate(words: usize) -> NonNull<u64> {
    let steps = words / STEP;
    if steps <= LARGEST {
        // A thread that is ending has no blocks any more.
        let kept = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            let block = kept.by_size[steps].pop();
            if block.is_some() {
                kept.words -= words;
            }
            block
        });
        if let Ok(Some(block)) = kept {
            return block;
        }
    }
    let layout = layout(steps);
    // SAFETY: the layout has at least one word.
    let start = NonNull::new(unsafe { alloc(layout) }.cast::<u64>());
    start.unwrap_or_else(|| handle_alloc_error(layout))
}

/// Takes the memory of a block back.
///
/// # Safety
/// `block` came from [`allocate`] with the same size, and is the caller's alone.
#[inline]
pub(super) unsafe fn free(block: NonNull<u64>, words: usize) {
    let steps = words / STEP;
    if steps <= LARGEST {
        let kept = KEPT.try_with(|kept| {
            let kept = &mut *kept.borrow_mut();
            let room = kept.words + words <= KEPT_WORDS;
            if room {
                kept.by_size[steps].push(block);
                kept.words += words;
            }
            room
        });
        if kept == Ok(true) {
            return;
        }
    }
    // SAFETY: `allocate` used the same layout.
    unsafe { dealloc(block.as_ptr().cast(), layout(steps)) };
}

fn layout(steps: usize) -> Layout {
    Layout::array::<u64>(steps * STEP).expect("a leaf fits the address space")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_freed_blocks_up_to_a_bound_and_leaves_nothing_behind() {
        std::thread::spawn(|| {
            let words = rounded(33);
            let count = 2 * KEPT_WORDS / words;
            let blocks: Vec<_> = (0..count).map(|_| allocate(words)).collect();
            for &block in &blocks {
                // SAFETY: it came from `allocate` with this size, and is not used any more.
                unsafe { free(block, words) };
            }
            let kept = KEPT.with(|kept| kept.borrow().by_size[words / STEP].len());
            assert_eq!(kept, KEPT_WORDS / words);
            assert!(blocks.contains(&allocate(words)), "it serves again");
        })
        .join()
        .expect("the thread ended");
    }
}
