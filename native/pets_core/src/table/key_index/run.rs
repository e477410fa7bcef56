//! Keys in order, as a leaf or an inner node has them.
//!
//! The words that all prefixes begin with, as many as the bytes that are skipped take; of each key
//! the 64 bits of its prefix after these bytes; and the stored keys. Where many keys have a
//! beginning in common, as the tuples of one kind or names with a path have, the bits after it
//! still tell them apart, and nobody has to look at the keys themselves.
//!
//! A *dense* run has small integers only, whose bits tell the whole key: there are no stored keys.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::slice;

use super::key::{KeyRef, Probe};
use super::prefix::{self, MAX_SKIP, Prefix};

/// Keys in the memory of a node, whose header tells how many, and what is skipped.
#[derive(Clone, Copy)]
pub(super) struct Run<'g> {
    start: *const u64,
    count: usize,
    skip: usize,
    dense: bool,
    life: PhantomData<&'g u64>,
}

/// How keys are laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Bytes that the prefixes of all keys have in common.
    pub(super) skip: usize,
    /// A prefix that begins with them.
    pub(super) common: Prefix,
}

impl Frame {
    /// That of any keys.
    pub(super) const NONE: Frame = Frame { skip: 0, common: Prefix::ZERO };

    /// The closest one of some keys in order, the first and the last of which have these prefixes.
    pub(super) fn around(first: &Prefix, last: &Prefix) -> Self {
        Frame { skip: first.common_with(last), common: *first }
    }

    /// The closest one that has one more key in it.
    pub(super) fn with(&self, prefix: &Prefix) -> Self {
        Frame { skip: self.skip.min(self.common.common_with(prefix)), ..*self }
    }

    /// Whether a key may be in it.
    pub(super) fn fits(&self, prefix: &Prefix) -> bool {
        prefix.cmp_first(&self.common, self.skip).is_eq()
    }

    /// What tells a key from others in it.
    pub(super) fn bits(&self, prefix: &Prefix) -> u64 {
        prefix.after(self.skip)
    }
}

/// Words that a run takes.
#[inline]
pub(super) const fn words(count: usize, skip: usize, dense: bool) -> usize {
    skip.div_ceil(8) + if dense { count } else { 2 * count }
}

impl<'g> Run<'g> {
    /// # Safety
    /// At `start` is a run that was written with this frame, and is not changed or freed during
    /// `'g`.
    #[inline]
    pub(super) unsafe fn new(start: *const u64, count: usize, skip: usize, dense: bool) -> Self {
        debug_assert!(skip <= MAX_SKIP && !(dense && skip > 0));
        Run { start, count, skip, dense, life: PhantomData }
    }

    /// Writes what comes before the bits of the keys.
    ///
    /// # Safety
    /// `start` is good for the writing of a run with this frame.
    pub(super) unsafe fn write_frame(start: *mut u64, frame: &Frame) {
        let words = &frame.common.words()[..frame.skip.div_ceil(8)];
        // SAFETY: the caller's promise.
        unsafe { start.copy_from_nonoverlapping(words.as_ptr(), words.len()) };
    }

    /// The prefix that all have in common; what is behind the bytes skipped means nothing.
    #[inline]
    fn common(self) -> Prefix {
        // SAFETY: so many words are at the start (`new`).
        Prefix::from_words(unsafe { slice::from_raw_parts(self.start, self.skip.div_ceil(8)) })
    }

    pub(super) fn frame(self) -> Frame {
        Frame { skip: self.skip, common: self.common() }
    }

    /// The bits of the keys.
    #[inline]
    pub(super) fn bits(self) -> &'g [u64] {
        // SAFETY: so many words follow the common ones (`new`).
        unsafe { slice::from_raw_parts(self.start.add(self.skip.div_ceil(8)), self.count) }
    }

    /// The stored keys; nothing in a dense run.
    #[inline]
    pub(super) fn all_stored(self) -> &'g [u64] {
        if self.dense {
            return &[];
        }
        // SAFETY: as many words follow the bits (`new`).
        unsafe { slice::from_raw_parts(self.bits().as_ptr().add(self.count), self.count) }
    }

    /// The stored key with this index.
    #[inline]
    pub(super) fn stored(self, index: usize) -> u64 {
        if self.dense { prefix::small_word(self.bits()[index]) } else { self.all_stored()[index] }
    }

    /// The index of a key, or of the first greater one.
    #[inline]
    pub(super) fn search(self, probe: &Probe<'_>) -> Result<usize, usize> {
        if self.skip > 0 {
            match probe.prefix.cmp_first(&self.common(), self.skip) {
                Ordering::Less => return Err(0),
                Ordering::Greater => return Err(self.count),
                Ordering::Equal => {}
            }
        }
        let sought = probe.prefix.after(self.skip);
        let bits = self.bits();
        let low = bits.partition_point(|&bits| bits < sought);
        if bits.get(low) != Some(&sought) {
            return Err(low);
        }
        self.search_same(probe, low, sought)
    }

    /// Goes on among keys with the same bits, from `low` on.
    fn search_same(self, probe: &Probe<'_>, mut low: usize, sought: u64) -> Result<usize, usize> {
        let mut high = low + self.bits()[low..].partition_point(|&bits| bits == sought);
        while low < high {
            let middle = low + (high - low) / 2;
            // SAFETY: the keys of a run are freed after it.
            match unsafe { probe.cmp_stored(self.stored(middle)) } {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => high = middle,
                Ordering::Greater => low = middle + 1,
            }
        }
        Err(low)
    }
}

/// Whether keys next to each other have the same bits.
pub(super) fn has_ties(bits: &[u64]) -> bool {
    bits.windows(2).any(|pair| pair[0] == pair[1])
}

/// The prefix of a stored key.
///
/// # Safety
/// As for [`KeyRef::from_stored`].
pub(super) unsafe fn prefix_of(stored: u64) -> Prefix {
    // SAFETY: the caller's promise.
    Prefix::of(unsafe { KeyRef::from_stored(stored) }.words())
}
