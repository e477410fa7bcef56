//! A leaf: some keys in order, never changed once it is published.
//!
//! In memory a header, the prefixes of the keys, and the stored keys in the same order. A leaf of
//! small integers only is *dense*: their prefixes tell the keys, and nothing else is stored.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::slice;

use super::key::{self, KeyRef, Probe};
use super::{memory, prefix};
use crate::table::sync::{AtomicU32, Ordering};
use crate::term::word;

/// The keys that a leaf may have.
pub(super) const MAX_KEYS: usize = 64;

/// What precedes the prefixes in memory.
#[repr(C)]
pub(super) struct Header {
    /// Number of keys. Set before the leaf is published. Atomic for the model's sake only: loom
    /// notices there when a leaf is read that was not published properly.
    count: AtomicU32,
    /// Whether there are prefixes only.
    dense: bool,
    /// Bytes of the blocks of its keys.
    key_bytes: u64,
}

const HEADER_WORDS: usize = size_of::<Header>() / 8;

/// A leaf. Its memory is given back by [`Leaf::free`] only.
#[derive(Clone, Copy)]
pub(super) struct Leaf<'g> {
    header: NonNull<Header>,
    life: PhantomData<&'g Header>,
}

/// What a new leaf is made of.
pub(super) enum Part<'a> {
    /// Keys of another leaf.
    Of(Leaf<'a>, Range<usize>),
    /// A prefix and a stored key.
    Key(u64, u64),
}

impl<'g> Leaf<'g> {
    /// # Safety
    /// The pointer came from [`Leaf::as_ptr`], and the leaf is not freed during `'g`.
    #[inline]
    pub(super) unsafe fn from_ptr(header: NonNull<Header>) -> Self {
        Leaf { header, life: PhantomData }
    }

    #[inline]
    pub(super) fn as_ptr(self) -> NonNull<Header> {
        self.header
    }

    #[inline]
    fn header(self) -> &'g Header {
        // SAFETY: `from_ptr` and `build` vouch for the life of the leaf.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    fn words(self) -> *mut u64 {
        // SAFETY: the words follow the header in the same block.
        unsafe { self.header.as_ptr().cast::<u64>().add(HEADER_WORDS) }
    }

    /// Number of keys.
    #[inline]
    pub(super) fn count(self) -> usize {
        // Relaxed: the pointer to the leaf was loaded with Acquire.
        self.header().count.load(Ordering::Relaxed) as usize
    }

    /// Whether all its keys are small integers.
    #[inline]
    pub(super) fn is_dense(self) -> bool {
        self.header().dense
    }

    #[inline]
    fn prefixes(self) -> &'g [u64] {
        // SAFETY: so many prefixes follow the header, and are never written again.
        unsafe { slice::from_raw_parts(self.words(), self.count()) }
    }

    /// Where the stored keys of a leaf that is not dense are.
    #[inline]
    fn keys(self) -> *mut u64 {
        self.words().wrapping_add(self.count())
    }

    #[inline]
    pub(super) fn prefix(self, index: usize) -> u64 {
        self.prefixes()[index]
    }

    /// The stored key with this index.
    #[inline]
    pub(super) fn stored(self, index: usize) -> u64 {
        let prefix = self.prefixes()[index];
        if self.is_dense() {
            return prefix::small_word(prefix);
        }
        // SAFETY: there are as many stored keys as prefixes.
        unsafe { self.keys().add(index).read() }
    }

    /// The key with this index.
    #[inline]
    pub(super) fn key(self, index: usize) -> KeyRef<'g> {
        // SAFETY: the key of a leaf is freed after the leaf.
        unsafe { KeyRef::from_stored(self.stored(index)) }
    }

    /// The key with this index, to look for it elsewhere.
    pub(super) fn probe(self, index: usize) -> Probe<'g> {
        Probe { prefix: self.prefix(index), key: self.key(index) }
    }

    /// The index of a key, or of the first greater one.
    #[inline]
    pub(super) fn search(self, probe: &Probe<'_>) -> Result<usize, usize> {
        let prefixes = self.prefixes();
        let mut low = prefixes.partition_point(|&prefix| prefix < probe.prefix);
        if prefixes.get(low) != Some(&probe.prefix) {
            return Err(low);
        }
        let same = prefixes[low..].partition_point(|&prefix| prefix == probe.prefix);
        let mut high = low + same;
        while low < high {
            let middle = low + (high - low) / 2;
            // SAFETY: the key of a leaf is freed after the leaf, and the prefixes are the same.
            match unsafe { probe.cmp_stored(self.stored(middle)) } {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => high = middle,
                std::cmp::Ordering::Greater => low = middle + 1,
            }
        }
        Err(low)
    }

    /// Bytes of the leaf and of its keys' blocks.
    pub(super) fn bytes(self) -> u64 {
        self.own_bytes() as u64 + self.header().key_bytes
    }

    /// Bytes of the leaf.
    pub(super) fn own_bytes(self) -> usize {
        size(self.count(), self.is_dense()) * 8
    }

    /// Gives the memory of the leaf back, but not that of its keys' blocks.
    ///
    /// # Safety
    /// Nobody uses the leaf any more.
    pub(super) unsafe fn free(self) {
        let size = size(self.count(), self.is_dense());
        // SAFETY: `build` allocated it with the same size.
        unsafe { memory::free(self.header.cast(), size) };
    }

    /// Gives the blocks of its keys back.
    ///
    /// # Safety
    /// Nobody uses these keys any more.
    pub(super) unsafe fn free_keys(self) {
        if self.header().key_bytes > 0 {
            for index in 0..self.count() {
                // SAFETY: the caller's promise.
                unsafe { key::free(self.stored(index)) };
            }
        }
    }

    /// A leaf with one key.
    pub(super) fn of_one(prefix: u64, stored: u64) -> Self {
        let dense = word::is_small(stored);
        // SAFETY: a stored key of the caller's.
        let key_bytes = unsafe { key::bytes(stored) };
        Leaf::build(&[Part::Key(prefix, stored)], dense, key_bytes)
    }

    /// This leaf and one more key, at `index`.
    pub(super) fn with(self, index: usize, prefix: u64, stored: u64) -> Self {
        let dense = self.is_dense() && word::is_small(stored);
        // SAFETY: a stored key of the caller's.
        let key_bytes = self.header().key_bytes + unsafe { key::bytes(stored) };
        let parts = [
            Part::Of(self, 0..index),
            Part::Key(prefix, stored),
            Part::Of(self, index..self.count()),
        ];
        Leaf::build(&parts, dense, key_bytes)
    }

    /// This leaf without the key at `index`.
    pub(super) fn without(self, index: usize) -> Self {
        // SAFETY: the key of a leaf is freed after the leaf.
        let key_bytes = self.header().key_bytes - unsafe { key::bytes(self.stored(index)) };
        let parts = [Part::Of(self, 0..index), Part::Of(self, index + 1..self.count())];
        Leaf::build(&parts, self.is_dense(), key_bytes)
    }

    /// A leaf with the keys of several ranges, one after the other.
    pub(super) fn of_ranges(ranges: &[(Leaf<'g>, Range<usize>)]) -> Self {
        let mut dense = true;
        let mut key_bytes = 0;
        for (leaf, range) in ranges {
            for index in range.clone() {
                let stored = leaf.stored(index);
                dense = dense && word::is_small(stored);
                // SAFETY: the key of a leaf is freed after the leaf.
                key_bytes += unsafe { key::bytes(stored) };
            }
        }
        let parts: Vec<_> =
            ranges.iter().map(|(leaf, range)| Part::Of(*leaf, range.clone())).collect();
        Leaf::build(&parts, dense, key_bytes)
    }

    /// A leaf of these parts. `dense` only where all keys are small integers.
    #[inline]
    fn build(parts: &[Part<'_>], dense: bool, key_bytes: u64) -> Self {
        let count = parts.iter().map(Part::count).sum();
        let header = memory::allocate(size(count, dense)).cast::<Header>();
        // SAFETY: the block is new and large enough.
        unsafe {
            header.write(Header { count: AtomicU32::new(count as u32), dense, key_bytes });
        }
        let leaf = Leaf { header, life: PhantomData };
        let mut at = 0;
        for part in parts {
            // SAFETY: the block has room for `count` prefixes and, if it is not dense, for as many
            // keys; `at` and what the parts before it took stay below `count`.
            unsafe {
                let prefixes = leaf.words().add(at);
                let keys = leaf.words().add(count + at);
                match part {
                    Part::Key(prefix, stored) => {
                        prefixes.write(*prefix);
                        if !dense {
                            keys.write(*stored);
                        }
                    }
                    Part::Of(other, range) => {
                        let from = &other.prefixes()[range.clone()];
                        ptr::copy_nonoverlapping(from.as_ptr(), prefixes, from.len());
                        if !dense && other.is_dense() {
                            for (index, prefix) in from.iter().enumerate() {
                                keys.add(index).write(prefix::small_word(*prefix));
                            }
                        } else if !dense {
                            let from = other.keys().add(range.start);
                            ptr::copy_nonoverlapping(from, keys, range.len());
                        }
                    }
                }
            }
            at += part.count();
        }
        leaf
    }
}

impl Part<'_> {
    #[inline]
    fn count(&self) -> usize {
        match self {
            Part::Of(_, range) => range.len(),
            Part::Key(..) => 1,
        }
    }
}

/// Words that a leaf takes.
#[inline]
fn size(count: usize, dense: bool) -> usize {
    memory::rounded(HEADER_WORDS + if dense { count } else { 2 * count })
}
