//! Going through a table, in the order of slots and hashes.

use super::entry::Entry;
use super::object::Key;
use super::record::Record;
use super::state::SlotState;
use super::{Table, Unserved, Why};
use crate::epoch::Guard;

use crate::placement::{SLOTS, Slot};
use crate::term::order;
use std::cmp::Ordering;

/// Words that looking at a cell counts for in the budget of a scan.
const CELLS_PER_WORD: usize = 8;

/// Where a scan goes on: at the first key whose hash is this or larger. Plain data, good for any
/// node, and for the table after any change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(u64);

impl Cursor {
    /// The beginning of the table.
    pub const START: Cursor = Cursor(0);

    /// The beginning of a slot.
    pub fn at(slot: Slot) -> Self {
        Cursor((slot.index() as u64) << Self::SLOT_SHIFT)
    }

    const SLOT_SHIFT: u32 = u64::BITS - SLOTS.ilog2();

    /// The slot that it is in.
    pub fn slot(self) -> Slot {
        Slot::of(self.0)
    }

    /// Whether nothing of its slot lies before it.
    pub fn is_at_start_of_slot(self) -> bool {
        self.0 << SLOTS.ilog2() == 0
    }

    /// The cursor as a number, for sending it.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The cursor with this number.
    pub fn from_bits(bits: u64) -> Self {
        Cursor(bits)
    }

    /// The cursor behind a hash, `None` behind the last one.
    fn behind(hash: u64) -> Option<Self> {
        hash.checked_add(1).map(Cursor)
    }

    fn next_slot(self) -> Option<Self> {
        Self::behind(self.0 | (u64::MAX >> SLOTS.ilog2()))
    }
}

/// How a step of a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// There is nothing more.
    Done,
    /// The budget is used up: go on here.
    More(Cursor),
    /// The slot of this cursor does not serve reads. Everything before it was shown; go on here
    /// when it does, or with this cursor at its owner, or leave it out with
    /// [`Cursor::at`] the next slot.
    Blocked(Cursor, Why),
}

/// Why there is no successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NextError {
    /// The key is not in the table.
    #[error("the key is not in the table")]
    Absent,
    /// A slot does not serve reads.
    #[error(transparent)]
    Unserved(#[from] Unserved),
}

impl Table {
    /// The first object in the order of the table, from a slot on. Slots of other nodes are passed
    /// over.
    ///
    /// # Errors
    /// [`Unserved`] where the search meets a slot that is being granted to another node.
    pub fn first<'g>(
        &'g self,
        from: Slot,
        guard: &'g Guard,
    ) -> Result<Option<Record<'g>>, Unserved> {
        self.first_in(Cursor::at(from), guard)
    }

    fn first_in<'g>(
        &'g self,
        from: Cursor,
        guard: &'g Guard,
    ) -> Result<Option<Record<'g>>, Unserved> {
        let mut at = Some(from);
        while let Some(cursor) = at {
            match self.first_of_slot(cursor, None, guard) {
                Ok(None) | Err(Unserved { why: Why::Elsewhere, .. }) => at = cursor.next_slot(),
                found => return found,
            }
        }
        Ok(None)
    }

    /// The object that follows that of `key` in the order of the table.
    ///
    /// # Errors
    /// [`NextError::Absent`] where the key is not there, [`NextError::Unserved`] where its slot
    /// does not serve reads, or as [`Table::first`].
    pub fn next<'g>(
        &'g self,
        key: &Key<'_>,
        guard: &'g Guard,
    ) -> Result<Option<Record<'g>>, NextError> {
        if self.get(key, guard)?.is_none() {
            return Err(NextError::Absent);
        }
        Ok(self.next_after(key, guard)?)
    }

    /// The first object behind `key`, which need not be there.
    ///
    /// # Errors
    /// [`Unserved`] where the slot of the key does not serve reads, or as [`Table::first`].
    pub fn next_after<'g>(
        &'g self,
        key: &Key<'_>,
        guard: &'g Guard,
    ) -> Result<Option<Record<'g>>, Unserved> {
        let cursor = Cursor(key.hash);
        if let Some(found) = self.first_of_slot(cursor, Some(key), guard)? {
            return Ok(Some(found));
        }
        cursor.next_slot().map_or(Ok(None), |cursor| self.first_in(cursor, guard))
    }

    /// The first object of the cursor's slot from the cursor on, and behind `after`.
    fn first_of_slot<'g>(
        &'g self,
        from: Cursor,
        after: Option<&Key<'_>>,
        _guard: &'g Guard,
    ) -> Result<Option<Record<'g>>, Unserved> {
        let slot = from.slot();
        let store = self.store(slot);
        loop {
            let status = store.status();
            self.check_readable(slot, status.state())?;
            let mut best: Option<(u64, Entry<'g>)> = None;
            let mut from = from.0;
            let array = store.array();
            if !array.is_none() {
                // A run may hold nothing but `after` itself and what is before it.
                loop {
                    let mut seen = false;
                    array.run_from(from, |hash, entry| {
                        seen = true;
                        let behind = after.is_none_or(|after| self.is_behind(after, hash, entry));
                        if behind
                            && best.is_none_or(|best| self.compare((hash, entry), best).is_lt())
                        {
                            best = Some((hash, entry));
                        }
                    });
                    match from.checked_add(1) {
                        Some(next) if seen && best.is_none() => from = next,
                        _ => break,
                    }
                }
            }
            // As for a key that is not found: the slot may have gone meanwhile.
            if best.is_some() || store.status() == status {
                return Ok(best.map(|(_, entry)| entry.first()));
            }
        }
    }

    fn check_readable(&self, slot: Slot, state: SlotState) -> Result<(), Unserved> {
        match state {
            state if state.serves_reads() => Ok(()),
            SlotState::Foreign => Err(Unserved { slot, why: Why::Elsewhere }),
            _ => Err(Unserved { slot, why: Why::Wait }),
        }
    }

    fn is_behind(&self, key: &Key<'_>, hash: u64, entry: Entry<'_>) -> bool {
        match hash.cmp(&key.hash) {
            Ordering::Equal => {
                let words = self.key_words(entry);
                order::cmp_exact(&words, key.words).is_gt()
                    && !self.schema.is_same_key(&words, key.words)
            }
            unequal => unequal == Ordering::Greater,
        }
    }

    fn compare(&self, a: (u64, Entry<'_>), b: (u64, Entry<'_>)) -> Ordering {
        // Two keys with one hash are rare: only then are their words compared.
        a.0.cmp(&b.0).then_with(|| order::cmp_exact(&self.key_words(a.1), &self.key_words(b.1)))
    }

    fn key_words(&self, entry: Entry<'_>) -> Vec<u64> {
        let record = entry.first();
        let mut words = Vec::new();
        record.copy_range_to(record.key(self.schema.keypos()), &mut words);
        words
    }

    /// Shows the objects from a cursor on, in the order of the table, until about `budget_words`
    /// words were shown. Slots of other nodes are passed over, but not the rest of one that was
    /// begun here.
    ///
    /// Every object that is there from the beginning of the scan to its end is shown once. Objects
    /// with one hash, and so all objects of one key, are shown in one step.
    pub fn scan(
        &self,
        from: Cursor,
        budget_words: usize,
        guard: &Guard,
        mut visit: impl FnMut(Record<'_>),
    ) -> ScanEnd {
        let mut budget = budget_words;
        let mut cursor = from;
        loop {
            match self.scan_slot_within(cursor, &mut budget, guard, &mut visit) {
                ScanEnd::Done => {}
                ScanEnd::Blocked(at, Why::Elsewhere) if at.is_at_start_of_slot() => {}
                end => return end,
            }
            match cursor.next_slot() {
                None => return ScanEnd::Done,
                Some(next) if budget == 0 => return ScanEnd::More(next),
                Some(next) => cursor = next,
            }
            // An empty slot costs time, too.
            budget = budget.saturating_sub(1);
        }
    }

    /// Shows the objects of one slot, that of the cursor, as [`Table::scan`] does.
    pub fn scan_slot(
        &self,
        from: Cursor,
        budget_words: usize,
        guard: &Guard,
        visit: impl FnMut(Record<'_>),
    ) -> ScanEnd {
        let mut budget = budget_words;
        self.scan_slot_within(from, &mut budget, guard, visit)
    }

    fn scan_slot_within(
        &self,
        from: Cursor,
        budget: &mut usize,
        _guard: &Guard,
        mut visit: impl FnMut(Record<'_>),
    ) -> ScanEnd {
        let slot = from.slot();
        let store = self.store(slot);
        let mut cursor = from;
        let mut run: Vec<(u64, Entry<'_>)> = Vec::new();
        loop {
            let status = store.status();
            if let Err(Unserved { why, .. }) = self.check_readable(slot, status.state()) {
                return ScanEnd::Blocked(cursor, why);
            }
            run.clear();
            let array = store.array();
            if !array.is_none() {
                let cells = array.run_from(cursor.0, |hash, entry| run.push((hash, entry)));
                *budget = budget.saturating_sub(cells / CELLS_PER_WORD);
            }
            if run.is_empty() {
                // Nothing more, unless the slot went away just now.
                if store.status() == status {
                    return ScanEnd::Done;
                }
                continue;
            }
            run.sort_unstable_by(|a, b| self.compare(*a, *b));
            let mut shown: Option<(u64, Entry<'_>)> = None;
            for &(hash, entry) in &run {
                if let Some((last, shown)) = shown {
                    // A key that was deleted and inserted again while the run was collected.
                    let is_same = |a, b| self.schema.is_same_key(a, b);
                    if last == hash && is_same(&self.key_words(shown), &self.key_words(entry)) {
                        continue;
                    }
                    if last != hash && *budget == 0 {
                        return ScanEnd::More(Cursor(hash));
                    }
                }
                for record in entry.records() {
                    visit(record);
                    *budget = budget.saturating_sub(record.len());
                }
                shown = Some((hash, entry));
            }
            let last = shown.map_or(cursor.0, |(hash, _)| hash);
            match Cursor::behind(last).filter(|next| next.slot() == slot) {
                None => return ScanEnd::Done,
                Some(next) if *budget == 0 => return ScanEnd::More(next),
                Some(next) => cursor = next,
            }
        }
    }
}
