//! An object as it is stored: one heap block of words, shared with readers that hold no lock.
//!
//! The first word of the block is the tuple's header with two more fields in the bits that a
//! tuple header does not need, so that `{integer, integer}` is a block of 24 bytes:
//!
//! | bits | field |
//! | --- | --- |
//! | 0 to 7 | the *variable word*: index of the only word that may change, 0 while there is none |
//! | 8 to 31 | arity |
//! | 32 to 63 | number of words |
//!
//! A block never changes once it is published, but for its variable word: a new version of the
//! object that differs in that one word only, immediate against immediate, is stored in place.
//! One word and never a second one, because a reader takes the words one by one: with two words
//! that change it could see the first as it was and the second as it became, which together may
//! never have been the object. Immediates only, so that no reader ever sees two structures.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use super::blocks;
use super::long_blocks::{self, LONG};
use super::schema::Schema;
use super::sync::{AtomicU64, Ordering};
use crate::term::order;
use crate::term::walk::Layout;
use crate::term::word::{self, Kind};

/// Arity and kind: the part of the first word that differs from tuple to tuple.
const ARITY_BITS: u64 = 0xFFFF_FF00;
/// Bits of the first word that tell the variable word.
const VARIABLE_BITS: u64 = 0xFF;
const LENGTH_SHIFT: u32 = 32;

/// First word of a record; the others follow it in memory.
#[repr(transparent)]
pub(crate) struct Block(AtomicU64);

/// An object in a table. Good for as long as the table is borrowed and the thread stays pinned.
#[derive(Clone, Copy)]
pub struct Record<'g> {
    block: NonNull<Block>,
    life: PhantomData<&'g AtomicU64>,
}

// SAFETY: a record is a shared reference to atomic words; that they stay allocated for 'g does not
// depend on the thread that reads them.
unsafe impl Send for Record<'_> {}
// SAFETY: as above; all access through a shared record is by atomic loads, and the stores of
// `Record::store` are made by the one holder of the slot's lock.
unsafe impl Sync for Record<'_> {}

impl Block {
    /// Copies an object into a block of its own.
    ///
    /// `words` must be an encoded tuple that [`super::Object::new`] accepted.
    pub(crate) fn allocate(words: &[u64]) -> NonNull<Block> {
        debug_assert_eq!(words[0] & !ARITY_BITS, word::header(Kind::Tuple, 0));
        let start = blocks::allocate(words.len());
        let first = (words[0] & ARITY_BITS) | ((words.len() as u64) << LENGTH_SHIFT);
        // SAFETY: `start` has room for `words.len()` words, and nobody else knows of it yet.
        unsafe {
            start.write(AtomicU64::new(first));
            for (index, &word) in words.iter().enumerate().skip(1) {
                start.add(index).write(AtomicU64::new(word));
            }
        }
        start.cast()
    }

    /// Gives the memory of a block back.
    ///
    /// # Safety
    /// `block` came from [`Block::allocate`], and nobody reads it any more or will.
    pub(crate) unsafe fn free(block: NonNull<Block>) {
        // SAFETY: the caller owns the block, so it is still allocated.
        let length = unsafe { Record::new(block) }.len();
        // SAFETY: `allocate` asked for the same length, which never changes.
        unsafe { blocks::free(block.cast(), length) }
    }
}

impl<'g> Record<'g> {
    /// # Safety
    /// The block stays allocated for `'g`.
    #[inline]
    pub(crate) unsafe fn new(block: NonNull<Block>) -> Self {
        Record { block, life: PhantomData }
    }

    pub(crate) fn block(self) -> NonNull<Block> {
        self.block
    }

    #[inline]
    fn first(self) -> u64 {
        // SAFETY: the block is allocated (`Record::new`) and has at least one word. Relaxed, as for
        // all words: the pointer to the block was loaded with Acquire.
        unsafe { self.block.as_ref() }.0.load(Ordering::Relaxed)
    }

    #[inline]
    fn cell(self, index: usize) -> &'g AtomicU64 {
        debug_assert!(index < self.len());
        // SAFETY: callers stay below `len`, which is what was allocated; `'g` is the block's life.
        unsafe { self.block.cast::<AtomicU64>().add(index).as_ref() }
    }

    /// Number of words of the encoded object, its header counted.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "an encoded tuple has at least one word")]
    pub fn len(self) -> usize {
        (self.first() >> LENGTH_SHIFT) as usize
    }

    /// What owns the memory that the record lies in, so that it can be kept beyond `'g`: see
    /// [`long_blocks`]. `None` for short records, where nothing can own them, and at times.
    #[inline]
    pub fn owner(self) -> Option<NonNull<()>> {
        let length = self.len();
        if length < LONG {
            return None;
        }
        // SAFETY: `Block::allocate` got it there, and it is not freed before `'g` ends.
        unsafe { long_blocks::owner(self.block.cast(), length) }
    }

    /// Number of elements of the tuple.
    #[inline]
    pub fn arity(self) -> usize {
        ((self.first() & ARITY_BITS) >> 8) as usize
    }

    /// The words as they are kept, to be loaded one by one with Relaxed; all but the first are words
    /// of the encoded object.
    #[inline]
    pub fn cells(self) -> &'g [AtomicU64] {
        // SAFETY: a block has `len` words, which stay allocated for `'g`.
        unsafe { std::slice::from_raw_parts(self.block.cast::<AtomicU64>().as_ptr(), self.len()) }
    }

    /// The word with this index.
    ///
    /// # Panics
    /// Where `index` is not below [`Record::len`].
    #[inline]
    pub fn word(self, index: usize) -> u64 {
        let first = self.first();
        if index == 0 {
            return header_of(first);
        }
        assert!(index < (first >> LENGTH_SHIFT) as usize, "no word {index} in this record");
        self.cell(index).load(Ordering::Relaxed)
    }

    /// The words of the encoded object, each read once.
    #[inline]
    pub fn words(self) -> impl ExactSizeIterator<Item = u64> + use<'g> {
        let first = self.first();
        (0..(first >> LENGTH_SHIFT) as usize).map(move |index| match index {
            0 => header_of(first),
            _ => self.cell(index).load(Ordering::Relaxed),
        })
    }

    /// Appends the encoded object to `out`. What was appended is one consistent version.
    #[inline]
    pub fn copy_to(self, out: &mut Vec<u64>) {
        out.extend(self.words());
    }

    /// Appends the words of a range, as [`Record::element`] or [`Record::key`] gives it, to `out`.
    ///
    /// # Panics
    /// Where the range does not lie within the record.
    #[inline]
    pub fn copy_range_to(self, range: Range<usize>, out: &mut Vec<u64>) {
        assert!(range.start > 0 && range.end <= self.len(), "no such range in this record");
        out.extend(range.map(|index| self.cell(index).load(Ordering::Relaxed)));
    }

    /// Where the 1-based element `n` of the tuple lies, or `None` beyond its end.
    pub fn element(self, n: usize) -> Option<Range<usize>> {
        if n == 0 || n > self.arity() {
            return None;
        }
        let mut at = 1;
        for _ in 1..n {
            at = self.skip(at);
        }
        Some(at..self.skip(at))
    }

    /// Where the key lies in a table with this key position.
    #[inline]
    pub fn key(self, keypos: usize) -> Range<usize> {
        let at = self.key_offset(keypos);
        at..self.skip(at)
    }

    /// Index of the key's first word in a table with this key position.
    #[inline]
    pub fn key_offset(self, keypos: usize) -> usize {
        let mut at = 1;
        for _ in 1..keypos {
            at = self.skip(at);
        }
        at
    }

    /// Index after the term that starts at `at`, which must be the first word of one. As
    /// `term::walk::skip`, over words that are read one by one; in-place changes never alter a
    /// structure, so that the way is always the same.
    ///
    /// # Panics
    /// Where `at` is not below [`Record::len`].
    #[inline]
    pub fn skip(self, at: usize) -> usize {
        if word::is_immediate(self.word(at)) {
            return at + 1;
        }
        self.skip_from(at)
    }

    fn skip_from(self, mut at: usize) -> usize {
        let mut open = 1;
        while open > 0 {
            open -= 1;
            let header = self.word(at);
            at += 1;
            let Some((kind, count)) = word::split_header(header) else { continue };
            let follows = Layout::of(kind, count).expect("a stored term fits the memory");
            at += follows.words;
            open += follows.terms;
        }
        at
    }

    /// Whether the term that starts at `offset` has these words.
    #[inline]
    pub(crate) fn has_at(self, offset: usize, words: &[u64]) -> bool {
        // Encodings delimit themselves: no term is the beginning of another one, so that a term
        // that ends before `words` does differs from it before its end.
        words
            .iter()
            .enumerate()
            .all(|(index, &word)| self.cell(offset + index).load(Ordering::Relaxed) == word)
    }

    /// Whether the object has this key.
    #[inline]
    pub(crate) fn has_key(self, key: &[u64], schema: Schema) -> bool {
        let at = self.key_offset(schema.keypos());
        self.has_at(at, key) || schema.compares_keys() && self.has_equal_key(at, key)
    }

    /// Whether the key, which starts at `at`, compares equal to another one.
    #[cold]
    fn has_equal_key(self, at: usize, key: &[u64]) -> bool {
        let mut words = Vec::new();
        self.copy_range_to(at..self.skip(at), &mut words);
        order::eq_loose(&words, key)
    }

    /// Whether the whole object has these words.
    pub(crate) fn equals(self, words: &[u64]) -> bool {
        self.len() == words.len() && self.words().eq(words.iter().copied())
    }

    /// Turns the object into the one in `words` without a new block, where that can be done; says
    /// whether it was.
    ///
    /// The caller holds the lock of the slot.
    pub(crate) fn store(self, words: &[u64]) -> bool {
        if self.len() != words.len() || header_of(self.first()) != words[0] {
            return false;
        }
        let mut differing =
            (1..words.len()).filter(|&i| self.cell(i).load(Ordering::Relaxed) != words[i]);
        match (differing.next(), differing.next()) {
            (None, _) => true,
            // The word may be a part of a binary. In a short record that is as good as any other; of a
            // long one somebody may have been given the binary itself (`owner`).
            (Some(index), None) if words.len() < LONG => self.store_word(index, words[index]),
            (Some(_), _) => false,
        }
    }

    /// Replaces one word, where this is the record's variable word or can become it, and both
    /// words are immediates. Says whether it was done.
    ///
    /// The caller holds the lock of the slot.
    #[inline]
    pub(crate) fn store_word(self, index: usize, new: u64) -> bool {
        let cell = self.cell(index);
        let old = cell.load(Ordering::Relaxed);
        if word::is_header(old) || word::is_header(new) {
            return false;
        }
        let first = self.first();
        let variable = first & VARIABLE_BITS;
        if variable != index as u64 {
            if variable != 0 || index as u64 > VARIABLE_BITS {
                return false;
            }
            // SAFETY: the block is allocated (`Record::new`). Relaxed: only holders of the lock
            // look at these bits.
            unsafe { self.block.as_ref() }.0.store(first | index as u64, Ordering::Relaxed);
        }
        // Relaxed: an immediate refers to nothing that would have to be visible with it.
        cell.store(new, Ordering::Relaxed);
        true
    }

    /// Bytes that the block takes.
    pub(crate) fn bytes(self) -> u64 {
        blocks::bytes(self.len())
    }
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.words()).finish()
    }
}

#[inline]
fn header_of(first: u64) -> u64 {
    (first & ARITY_BITS) | word::header(Kind::Tuple, 0)
}
