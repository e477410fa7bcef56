//! A leaf: some keys in order, never changed once it is published.
//!
//! In memory a header and a run of keys, which is dense where all of them are small integers.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::{self, NonNull};

use super::key::{self, KeyRef, Probe};
use super::memory;
use super::prefix::small_word;
use super::run::{self, Frame, Run};
use crate::table::sync::{AtomicU32, Ordering};
use crate::term::word;

/// The keys that a leaf may have. Few in a model, which shall split leaves.
pub(super) const MAX_KEYS: usize = if cfg!(all(test, loom)) { 4 } else { 64 };

/// What precedes the run in memory.
#[repr(C)]
pub(super) struct Header {
    /// Number of keys. Set before the leaf is published. Atomic for the model's sake only: loom
    /// notices there when a leaf is read that was not published properly.
    count: AtomicU32,
    /// Whether the run is dense.
    dense: bool,
    /// Bytes that the run skips.
    skip: u8,
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
    /// The bits and the stored key of one.
    Key(u64, u64),
}

impl<'g> Leaf<'g> {
    /// # Safety
    /// The pointer came from [`Leaf::as_ptr`], and the leaf is not freed during `'g`.
    #[inline]
    pub(super) unsafe fn from_ptr(header: NonNull<Header>) -> Self {
        #[cfg(all(test, loom))]
        super::model::note_met(header.addr());
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

    /// Has the processor fetch the bits of most leaves' keys, all at once: a search would wait for
    /// one line after the other.
    #[inline]
    #[cfg(not(all(test, loom)))]
    pub(super) fn prefetch(self) {
        #[cfg(target_arch = "x86_64")]
        for line in 0..6 {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let at = self.header.as_ptr().cast::<i8>().wrapping_add(64 * line);
            // SAFETY: any address may be fetched ahead.
            unsafe { _mm_prefetch(at, _MM_HINT_T0) };
        }
    }

    #[inline]
    fn run_start(self) -> *mut u64 {
        // SAFETY: the run follows the header in the same block.
        unsafe { self.header.as_ptr().cast::<u64>().add(HEADER_WORDS) }
    }

    #[inline]
    fn run(self) -> Run<'g> {
        let header = self.header();
        // SAFETY: `build` wrote such a run, which is not changed any more.
        unsafe { Run::new(self.run_start(), self.count(), header.skip.into(), header.dense) }
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

    /// The stored key with this index.
    #[inline]
    pub(super) fn stored(self, index: usize) -> u64 {
        self.run().stored(index)
    }

    /// The key with this index.
    #[inline]
    pub(super) fn key(self, index: usize) -> KeyRef<'g> {
        // SAFETY: the key of a leaf is freed after the leaf.
        unsafe { KeyRef::from_stored(self.stored(index)) }
    }

    /// The key with this index, to look for it elsewhere.
    pub(super) fn probe(self, index: usize) -> Probe<'g> {
        Probe::of(self.key(index))
    }

    /// The index of a key, or of the first greater one.
    #[inline]
    pub(super) fn search(self, probe: &Probe<'_>) -> Result<usize, usize> {
        self.run().search(probe)
    }

    /// Bytes of the leaf and of its keys' blocks.
    pub(super) fn bytes(self) -> u64 {
        self.own_bytes() as u64 + self.header().key_bytes
    }

    /// Bytes of the leaf.
    pub(super) fn own_bytes(self) -> usize {
        8 * self.size()
    }

    /// Gives the memory of the leaf back, but not that of its keys' blocks.
    ///
    /// # Safety
    /// Nobody uses the leaf any more.
    pub(super) unsafe fn free(self) {
        // SAFETY: `build` allocated it with the same size.
        unsafe { memory::free(self.header.cast(), self.size()) };
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

    /// Words that the leaf takes.
    #[inline]
    fn size(self) -> usize {
        size(self.count(), self.header().skip.into(), self.is_dense())
    }

    /// A leaf with one key.
    pub(super) fn of_one(probe: &Probe<'_>, stored: u64) -> Self {
        let dense = word::is_small(stored);
        // SAFETY: a stored key of the caller's.
        let key_bytes = unsafe { key::bytes(stored) };
        let part = Part::Key(Frame::NONE.bits(&probe.prefix), stored);
        Leaf::build(&[part], &Frame::NONE, dense, key_bytes)
    }

    /// This leaf and one more key, at `index`.
    pub(super) fn with(self, index: usize, probe: &Probe<'_>, stored: u64) -> Self {
        let dense = self.is_dense() && word::is_small(stored);
        // SAFETY: a stored key of the caller's.
        let key_bytes = self.header().key_bytes + unsafe { key::bytes(stored) };
        let frame = self.run().frame();
        if !frame.fits(&probe.prefix) {
            let mut all = self.run().all_stored().to_vec();
            all.insert(index, stored);
            return Leaf::of_stored(&all, &frame.with(&probe.prefix), key_bytes);
        }
        let parts = [
            Part::Of(self, 0..index),
            Part::Key(frame.bits(&probe.prefix), stored),
            Part::Of(self, index..self.count()),
        ];
        Leaf::build(&parts, &frame, dense, key_bytes)
    }

    /// This leaf without the key at `index`.
    pub(super) fn without(self, index: usize) -> Self {
        // SAFETY: the key of a leaf is freed after the leaf.
        let key_bytes = self.header().key_bytes - unsafe { key::bytes(self.stored(index)) };
        let parts = [Part::Of(self, 0..index), Part::Of(self, index + 1..self.count())];
        Leaf::build(&parts, &self.run().frame(), self.is_dense(), key_bytes)
    }

    /// A leaf with the keys of several ranges, one after the other, in the closest frame if that is
    /// of use.
    pub(super) fn of_ranges(ranges: &[(Leaf<'g>, Range<usize>)]) -> Self {
        let (one, _) = &ranges[0];
        let mut dense = true;
        let mut key_bytes = 0;
        let mut same_frame = true;
        let mut ties = false;
        for (leaf, range) in ranges {
            for index in range.clone() {
                let stored = leaf.stored(index);
                dense = dense && word::is_small(stored);
                // SAFETY: the key of a leaf is freed after the leaf.
                key_bytes += unsafe { key::bytes(stored) };
            }
            same_frame &= leaf.header == one.header || leaf.header().skip + one.header().skip == 0;
            ties |= run::has_ties(&leaf.run().bits()[range.clone()]);
        }
        let skips = one.header().skip > 0;
        if same_frame && !ties && !(dense && skips) {
            let parts: Vec<_> =
                ranges.iter().map(|(leaf, range)| Part::Of(*leaf, range.clone())).collect();
            return Leaf::build(&parts, &one.run().frame(), dense, key_bytes);
        }
        let stored =
            ranges.iter().flat_map(|(leaf, range)| range.clone().map(|at| leaf.stored(at)));
        let stored: Vec<u64> = stored.collect();
        if dense {
            return Leaf::of_stored(&stored, &Frame::NONE, 0);
        }
        // SAFETY: the keys of leaves are freed after them.
        let [first, last] =
            [stored[0], stored[stored.len() - 1]].map(|stored| unsafe { run::prefix_of(stored) });
        Leaf::of_stored(&stored, &Frame::around(&first, &last), key_bytes)
    }

    /// A leaf of stored keys in a frame that they fit.
    fn of_stored(stored: &[u64], frame: &Frame, key_bytes: u64) -> Self {
        let part = |&stored| {
            // SAFETY: stored keys of the caller's.
            let prefix = unsafe { run::prefix_of(stored) };
            Part::Key(frame.bits(&prefix), stored)
        };
        let parts: Vec<_> = stored.iter().map(part).collect();
        let dense = stored.iter().all(|&stored| word::is_small(stored)) && frame.skip == 0;
        Leaf::build(&parts, frame, dense, key_bytes)
    }

    /// A leaf of these parts, which all have this frame. `dense` only where all keys are small
    /// integers.
    #[inline]
    fn build(parts: &[Part<'_>], frame: &Frame, dense: bool, key_bytes: u64) -> Self {
        let count = parts.iter().map(Part::count).sum();
        let skip = frame.skip as u8;
        let header = memory::allocate(size(count, frame.skip, dense)).cast::<Header>();
        // SAFETY: the block is new and large enough.
        unsafe {
            header.write(Header { count: AtomicU32::new(count as u32), dense, skip, key_bytes });
        }
        let leaf = Leaf { header, life: PhantomData };
        // SAFETY: the block has room for a run with this frame.
        let mut bits = unsafe {
            Run::write_frame(leaf.run_start(), frame);
            leaf.run_start().add(run::words(0, frame.skip, dense))
        };
        let mut stored = bits.wrapping_add(count);
        for part in parts {
            // SAFETY: the block has room for the bits of `count` keys and, if it is not dense, for
            // as many stored keys, which is what all parts together have.
            unsafe {
                match part {
                    Part::Key(key_bits, key) => {
                        bits.write(*key_bits);
                        if !dense {
                            stored.write(*key);
                        }
                    }
                    Part::Of(other, range) => {
                        let from = &other.run().bits()[range.clone()];
                        ptr::copy_nonoverlapping(from.as_ptr(), bits, from.len());
                        if !dense && other.is_dense() {
                            for (index, bits) in from.iter().enumerate() {
                                stored.add(index).write(small_word(*bits));
                            }
                        } else if !dense {
                            let from = &other.run().all_stored()[range.clone()];
                            ptr::copy_nonoverlapping(from.as_ptr(), stored, from.len());
                        }
                    }
                }
            }
            bits = bits.wrapping_add(part.count());
            stored = stored.wrapping_add(part.count());
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
fn size(count: usize, skip: usize, dense: bool) -> usize {
    memory::rounded(HEADER_WORDS + run::words(count, skip, dense))
}
