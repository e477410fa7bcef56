//! Blocks of large objects, which may be given an owner outside of the table.
//!
//! A reader of a large object may want to hand out a part of it without a copy, for longer than its
//! guard lives. It then has the block's memory *owned* by something that counts references (in the
//! VM, a resource). The table has one of them and gives it back when the epoch has passed; the
//! memory is freed with the last. An object that nobody reads never has an owner, and an overwrite
//! costs no more than it did.
//!
//! The word in front of a long block tells:
//!
//! | word | memory | who may change it |
//! | --- | --- | --- |
//! | 0 | is the table's | a reader, to 1 |
//! | 1 | is the table's, and is about to have an owner | that reader, to the owner |
//! | else | has this owner | nobody |

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Blocks from this length on, in words, are long ones.
pub const LONG: usize = 65;

/// Words in front of a long block.
pub(super) const FRONT: usize = 1;

const NO_OWNER: *mut () = ptr::null_mut();
const MARKED: *mut () = ptr::without_provenance_mut(1);

/// The memory of a long block, freed when this is dropped.
#[derive(Debug)]
pub struct Memory {
    /// The block itself, behind the word that tells its owner.
    block: NonNull<u64>,
    length: usize,
}

// SAFETY: it is the only handle to plain heap memory.
unsafe impl Send for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `allocate` used the same layout, and nobody else has the memory.
        unsafe { dealloc(self.block.sub(FRONT).as_ptr().cast(), layout(self.length)) };
    }
}

/// What owns memory by counting references. Owners are addresses, other than 0 and 1.
pub trait Owners: Sync {
    /// An owner of this memory, with one reference to it, which is the table's.
    fn own(&self, memory: Memory) -> NonNull<()>;

    /// Gives the table's reference back.
    ///
    /// # Safety
    /// `owner` came from `own`, and the table uses neither it nor its memory any more.
    unsafe fn release(&self, owner: NonNull<()>);
}

static OWNERS: OnceLock<&'static dyn Owners> = OnceLock::new();

/// Sets what owns long blocks, for this process. The first call counts.
pub fn install(owners: &'static dyn Owners) {
    OWNERS.get_or_init(|| owners);
}

/// Memory for a block of so many words, at least [`LONG`].
pub(super) fn allocate(length: usize) -> NonNull<u64> {
    let layout = layout(length);
    // SAFETY: the layout has words.
    let start = NonNull::new(unsafe { alloc(layout) }.cast::<u64>())
        .unwrap_or_else(|| handle_alloc_error(layout));
    // SAFETY: the memory has the word in front and then the block.
    unsafe {
        start.cast::<AtomicPtr<()>>().write(AtomicPtr::new(NO_OWNER));
        start.add(FRONT)
    }
}

/// Takes a block back.
///
/// # Safety
/// `block` came from [`allocate`] with this length, and the table does not use it any more.
pub(super) unsafe fn free(block: NonNull<u64>, length: usize) {
    // SAFETY: by the caller. Relaxed: who gave it an owner was done when the caller came to know
    // that nobody reads the block any more.
    let owner = unsafe { word_in_front(block) }.load(Ordering::Relaxed);
    debug_assert!(owner != MARKED, "nobody reads it any more");
    match (NonNull::new(owner), OWNERS.get()) {
        // SAFETY: `owner` got it from `own`, and this is the one time that it is given back.
        (Some(owner), Some(owners)) => unsafe { owners.release(owner) },
        _ => drop(Memory { block, length }),
    }
}

/// The owner of a block, which gets one if it has none. `None` where nothing can own it, or another
/// reader is just about to have it owned.
///
/// # Safety
/// `block` came from [`allocate`] with this length and is not freed yet.
pub(super) unsafe fn owner(block: NonNull<u64>, length: usize) -> Option<NonNull<()>> {
    let owners = OWNERS.get()?;
    // SAFETY: by the caller.
    let front = unsafe { word_in_front(block) };
    // Acquire pairs with the Release below: what the owner is made of is visible.
    let mut owner = front.load(Ordering::Acquire);
    if owner == NO_OWNER {
        // Relaxed: nothing is passed on yet.
        front.compare_exchange(NO_OWNER, MARKED, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        owner = owners.own(Memory { block, length }).as_ptr();
        // Release pairs with the Acquire above.
        front.store(owner, Ordering::Release);
    }
    if owner == MARKED { None } else { NonNull::new(owner) }
}

/// # Safety
/// `block` came from [`allocate`] and is not freed yet.
unsafe fn word_in_front<'a>(block: NonNull<u64>) -> &'a AtomicPtr<()> {
    // SAFETY: the word is there, and `allocate` has written it.
    unsafe { block.sub(FRONT).cast().as_ref() }
}

fn layout(length: usize) -> Layout {
    Layout::array::<u64>(FRONT + length).expect("lengths are below 2^32 words")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Owners that are boxes: what was owned, and references.
    struct Boxes;

    static RELEASED: Mutex<Vec<usize>> = Mutex::new(Vec::new());

    impl Owners for Boxes {
        fn own(&self, memory: Memory) -> NonNull<()> {
            NonNull::from(Box::leak(Box::new(memory))).cast()
        }

        unsafe fn release(&self, owner: NonNull<()>) {
            RELEASED.lock().expect("no test panics with it").push(owner.addr().get());
            // SAFETY: `own` leaked it.
            drop(unsafe { Box::from_raw(owner.cast::<Memory>().as_ptr()) });
        }
    }

    #[test]
    fn a_block_gets_one_owner_which_frees_it() {
        install(&Boxes);
        let block = allocate(LONG);
        // SAFETY: it was just allocated.
        unsafe { block.add(LONG - 1).write(7) };
        let owners: Vec<_> = std::thread::scope(|scope| {
            let address = block.addr();
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(move || {
                        let block = NonNull::new(ptr::with_exposed_provenance_mut(address.get()))
                            .expect("a block");
                        // SAFETY: the block is freed when these threads have ended.
                        unsafe { owner(block, LONG) }.map(|owner| owner.addr().get())
                    })
                })
                .collect();
            block.as_ptr().expose_provenance();
            threads.into_iter().filter_map(|thread| thread.join().expect("it ended")).collect()
        });
        assert!(!owners.is_empty());
        assert!(owners.iter().all(|owner| *owner == owners[0]));
        // SAFETY: nobody uses the block any more.
        unsafe { free(block, LONG) };
        assert!(RELEASED.lock().expect("no test panics with it").contains(&owners[0]));
    }

    #[test]
    fn a_block_without_an_owner_is_freed_at_once() {
        let block = allocate(LONG + 1);
        // SAFETY: nobody uses the block.
        unsafe { free(block, LONG + 1) };
    }
}
