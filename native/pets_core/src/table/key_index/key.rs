//! Keys as the index keeps them: an immediate as it is, any other key in a block of its own.

use std::cmp::Ordering;
use std::ptr::{self, NonNull};
use std::slice;

use super::prefix::Prefix;
use crate::table::blocks;
use crate::term::{order, word};

/// A key of the index. Good for as long as the index is borrowed and the thread stays pinned.
#[derive(Clone, Copy)]
pub struct KeyRef<'g> {
    /// The whole key where `words` is `None`.
    immediate: u64,
    words: Option<&'g [u64]>,
}

impl<'g> KeyRef<'g> {
    /// The encoded key.
    #[inline]
    pub fn words(&self) -> &[u64] {
        self.words.unwrap_or(slice::from_ref(&self.immediate))
    }

    /// # Safety
    /// `stored` is a small integer, or came from [`store`] and is not freed during `'g`.
    #[inline]
    pub(super) unsafe fn from_stored(stored: u64) -> Self {
        if word::is_immediate(stored) {
            return KeyRef { immediate: stored, words: None };
        }
        // SAFETY: what is no immediate is a block that `store` wrote.
        KeyRef { immediate: 0, words: Some(unsafe { block(stored) }) }
    }
}

impl std::fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.words()).finish()
    }
}

/// A key that is looked for.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    pub(super) prefix: Prefix,
    pub(super) key: KeyRef<'a>,
}

impl<'a> Probe<'a> {
    /// `words` are those of one key and no more.
    #[inline]
    pub(super) fn new(words: &'a [u64]) -> Self {
        let key = match *words {
            [immediate] if word::is_immediate(immediate) => KeyRef { immediate, words: None },
            _ => KeyRef { immediate: 0, words: Some(words) },
        };
        Probe::of(key)
    }

    #[inline]
    pub(super) fn of(key: KeyRef<'a>) -> Self {
        Probe { prefix: Prefix::of(key.words()), key }
    }

    pub(super) fn cmp(&self, other: &Probe<'_>) -> Ordering {
        order::cmp(self.key.words(), other.key.words())
    }

    /// Compares the key with a stored one.
    ///
    /// # Safety
    /// As for [`KeyRef::from_stored`].
    #[inline]
    pub(super) unsafe fn cmp_stored(&self, stored: u64) -> Ordering {
        if self.key.words.is_none() && self.key.immediate == stored {
            return Ordering::Equal;
        }
        // SAFETY: the caller's promise.
        order::cmp(self.key.words(), unsafe { KeyRef::from_stored(stored) }.words())
    }
}

/// A key as an entry has it: the word of an immediate, or the address of a block with the number
/// of words and the words. Addresses end in `000`, which no immediate does.
pub(super) fn store(key: &KeyRef<'_>) -> u64 {
    let Some(words) = key.words else { return key.immediate };
    let start = blocks::allocate(words.len() + 1).cast::<u64>();
    // SAFETY: the block is new and has room for so many words.
    unsafe {
        start.write(words.len() as u64);
        ptr::copy_nonoverlapping(words.as_ptr(), start.as_ptr().add(1), words.len());
    }
    start.as_ptr().expose_provenance() as u64
}

/// # Safety
/// `stored` came from [`store`], is no immediate, and is not freed during `'g`.
#[inline]
unsafe fn block<'g>(stored: u64) -> &'g [u64] {
    #[cfg(all(test, loom))]
    super::model::note_met(std::num::NonZero::new(stored as usize).expect("no block is at 0"));
    let start = ptr::with_exposed_provenance::<u64>(stored as usize);
    // SAFETY: `store` wrote the number of words and so many words.
    unsafe { slice::from_raw_parts(start.add(1), *start as usize) }
}

/// Bytes of the block of a stored key.
///
/// # Safety
/// `stored` is a small integer, or came from [`store`] and is not freed.
#[inline]
pub(super) unsafe fn bytes(stored: u64) -> u64 {
    if word::is_immediate(stored) {
        return 0;
    }
    // SAFETY: the caller's promise.
    8 * (unsafe { block(stored) }.len() as u64 + 1)
}

/// Gives the block of a stored key back, if it has one.
///
/// # Safety
/// `stored` came from [`store`]; nobody looks at it any more.
pub(super) unsafe fn free(stored: u64) {
    if word::is_immediate(stored) {
        return;
    }
    // SAFETY: the caller's promise.
    let length = unsafe { block(stored) }.len() + 1;
    let start = ptr::with_exposed_provenance_mut::<u64>(stored as usize);
    // SAFETY: `store` allocated it with this length, which is not null.
    unsafe { blocks::free(NonNull::new_unchecked(start).cast(), length) };
}
