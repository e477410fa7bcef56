//! Going through a table key by key, or in the order of its keys.
//!
//! The [index](super::key_index) of an ordered table knows the order; what a key has is looked up
//! in its slot, so that entries without an object and keys of slots that are served elsewhere are
//! passed over.

use std::ops::Bound;

use super::key_index::KeyIndex;
use super::state::Status;
use super::{Cursor, Record, ScanEnd, Table};
use crate::epoch::Guard;
use crate::placement::{SLOTS, Slot};

/// Which way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the least key to the greatest.
    Ascending,
    /// From the greatest key to the least.
    Descending,
}

/// A part of some slots of an ordered table.
pub struct OrderedChunk<'g> {
    /// The objects, in order.
    pub records: Vec<Record<'g>>,
    /// The last key that was looked at, if there may be more behind it.
    pub position: Option<Vec<u64>>,
    /// Slots that were not served here throughout: nothing of them is in the chunk.
    pub unserved: Vec<Slot>,
}

/// Keys that are looked at for one chunk: most of a millisecond where none of them has an object.
const KEYS_PER_CHUNK: usize = 2048;

impl Table {
    /// The object that follows a key, which need not be there, or the first one: in the order of
    /// keys, or in the table's own where they have none (and one direction). `None` where some slot
    /// is not served here.
    #[inline]
    pub fn neighbour<'g>(
        &'g self,
        direction: Direction,
        of: Option<&[u64]>,
        guard: &'g Guard,
    ) -> Option<Option<Record<'g>>> {
        let before = self.standing.see();
        if !before.serves_all() {
            return None;
        }
        let found = match (&self.index, of) {
            (Some(index), of) => keys(index, direction, of, guard)
                .find_map(|key| self.get(&self.schema.key(key.words()), guard).ok().flatten())
                .map(super::Entry::first),
            (None, Some(key)) => self.next_after(&self.schema.key(key), guard).ok()?,
            (None, None) => self.first(Slot::of(0), guard).ok()?,
        };
        (self.standing.see() == before).then_some(found)
    }

    /// As [`Table::scan`], of all slots; `None` where they are not all served here throughout: what
    /// was shown does not count then.
    pub fn scan_all(
        &self,
        from: Cursor,
        budget_words: usize,
        guard: &Guard,
        visit: impl FnMut(Record<'_>),
    ) -> Option<ScanEnd> {
        let before = self.standing.see();
        if !before.serves_all() {
            return None;
        }
        let end = self.scan(from, budget_words, guard, visit);
        (self.standing.see() == before).then_some(end)
    }

    /// As [`Table::scan_ordered`], of all slots; `None` where they are not all served here throughout.
    ///
    /// # Panics
    /// As [`Table::scan_ordered`].
    pub fn scan_all_ordered<'g>(
        &'g self,
        direction: Direction,
        after: Option<&[u64]>,
        budget_words: usize,
        guard: &'g Guard,
    ) -> Option<OrderedChunk<'g>> {
        let before = self.standing.see();
        if !before.serves_all() {
            return None;
        }
        let (found, position) =
            self.walk_ordered(direction, after, usize::MAX, budget_words, guard, |_| true);
        let records = found.into_iter().map(|(_, record)| record).collect();
        let chunk = OrderedChunk { records, position, unserved: Vec::new() };
        (self.standing.see() == before).then_some(chunk)
    }

    /// Objects of slots that are wanted, and the last key that was looked at if there may be more.
    fn walk_ordered<'g>(
        &'g self,
        direction: Direction,
        after: Option<&[u64]>,
        max_objects: usize,
        budget_words: usize,
        guard: &'g Guard,
        is_wanted: impl Fn(Slot) -> bool,
    ) -> (Vec<(Slot, Record<'g>)>, Option<Vec<u64>>) {
        let index = self.index.as_ref().expect("only ordered tables are scanned in order");
        let mut found = Vec::new();
        let (mut words, mut looked_at) = (0, 0);
        for key in keys(index, direction, after, guard) {
            let key = self.schema.key(key.words());
            if is_wanted(key.slot())
                && let Ok(Some(entry)) = self.get(&key, guard)
            {
                words += entry.first().len();
                found.push((key.slot(), entry.first()));
            }
            looked_at += 1;
            if found.len() >= max_objects || words >= budget_words || looked_at >= KEYS_PER_CHUNK {
                return (found, Some(key.words.to_vec()));
            }
        }
        (found, None)
    }

    /// The objects of some slots in the order of their keys, behind `after`: as many as
    /// `max_objects`, and about `budget_words` words.
    ///
    /// # Panics
    /// On a table whose keys have no order.
    pub fn scan_ordered<'g>(
        &'g self,
        direction: Direction,
        after: Option<&[u64]>,
        slots: &[Slot],
        max_objects: usize,
        budget_words: usize,
        guard: &'g Guard,
    ) -> OrderedChunk<'g> {
        // The slots that are asked for and served, as they are now.
        let mut served: Vec<Option<Status>> = vec![None; SLOTS];
        for &slot in slots {
            let status = self.store(slot).status();
            served[slot.index()] = status.state().serves_reads().then_some(status);
        }
        let is_served = |slot: Slot| served[slot.index()].is_some();
        let (mut found, position) =
            self.walk_ordered(direction, after, max_objects, budget_words, guard, is_served);
        // A slot that has changed its state meanwhile may have lost some of its keys before they
        // were looked at: it counts as not served from the beginning of the chunk.
        let is_as_it_was =
            |slot: Slot| served[slot.index()].is_some_and(|was| self.store(slot).status() == was);
        let mut unserved: Vec<Slot> = slots.to_vec();
        unserved.retain(|&slot| !is_as_it_was(slot));
        found.retain(|(slot, _)| !unserved.contains(slot));
        let records = found.into_iter().map(|(_, record)| record).collect();
        OrderedChunk { records, position, unserved }
    }
}

/// The keys of the index behind one, or all of them.
fn keys<'k, 'g: 'k>(
    index: &'g KeyIndex,
    direction: Direction,
    after: Option<&'k [u64]>,
    guard: &'g Guard,
) -> super::key_index::Cursor<'k, 'g> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    match direction {
        Direction::Ascending => index.ascending(from, guard),
        Direction::Descending => index.descending(from, guard),
    }
}
