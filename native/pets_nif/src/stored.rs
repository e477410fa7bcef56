//! The words of an object in a table, as they are decoded.

use std::sync::atomic::{AtomicU64, Ordering};

use pets_core::table::Record;

use crate::decode::Words;
use crate::raw::{Env, Term};
use crate::shared;

/// A record, its cells at hand.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'g> {
    record: Record<'g>,
    cells: &'g [AtomicU64],
}

impl<'g> Stored<'g> {
    #[inline]
    pub(crate) fn new(record: Record<'g>) -> Self {
        Stored { record, cells: record.cells() }
    }
}

impl Words for Stored<'_> {
    #[inline]
    fn len(&self) -> usize {
        self.cells.len()
    }

    #[inline]
    fn word(&self, index: usize) -> u64 {
        debug_assert!(index > 0, "the first cell is no word of the encoding");
        // Relaxed, as all words of a record: see `Record::word`.
        self.cells[index].load(Ordering::Relaxed)
    }

    #[inline]
    fn run(&self, index: usize, count: usize) -> impl Iterator<Item = u64> {
        debug_assert!(index > 0, "the first cell is no word of the encoding");
        // Relaxed, as above.
        self.cells[index..index + count].iter().map(|cell| cell.load(Ordering::Relaxed))
    }

    #[inline]
    fn first(&self, index: usize) -> u64 {
        if index == 0 { self.record.word(0) } else { self.word(index) }
    }

    fn to_vec(&self, at: usize) -> Vec<u64> {
        let mut words = Vec::new();
        self.record.copy_range_to(at..self.record.skip(at), &mut words);
        words
    }

    fn shared_binary(&self, env: Env, index: usize, bytes: usize) -> Option<Term> {
        // The binary keeps the whole record: at most twice of what it is itself.
        if 2 * bytes < size_of_val(self.cells) || cfg!(target_endian = "big") {
            return None;
        }
        let owner = self.record.owner()?;
        debug_assert!(index + bytes.div_ceil(8) <= self.cells.len(), "they are in the record");
        let data = (&raw const self.cells[index]).cast();
        // SAFETY: the words of a binary never change, and lie in the memory that `owner` has.
        Some(unsafe { shared::binary(env, owner, data, bytes) })
    }
}
