//! Tables: the objects of one node, by slot.
//!
//! A [`Table`] has one flat array of [`SLOTS`] slots. The slot is the unit of storage, of locking
//! and of ownership: each has its own array of cells, its lock, and its [`SlotState`]. Reads take
//! no lock and wait for nobody; a write locks one slot. Tables grow and shrink slot by slot, a few
//! hundred objects at a time even in a table of millions.
//!
//! ```
//! use pets_core::table::{Schema, SlotState, Table};
//! use pets_core::term::word::{Kind, header, small};
//!
//! let schema = Schema::set(1);
//! let table = Table::new(schema, SlotState::Owned);
//! let words = [header(Kind::Tuple, 2), small(1), small(42)];
//! assert!(table.insert_new(&schema.object(&words)?)?);
//!
//! let guard = pets_core::epoch::pin();
//! let found = table.get(&schema.key(&[small(1)]), &guard)?.expect("it was inserted");
//! assert_eq!(found.first().word(2), small(42));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Iteration has one order everywhere: by slot, and within a slot by hash, then by the exact order
//! of the keys, and the objects of a key of a bag as they were inserted. It does not depend on the size of the table or on its history, so that a traversal
//! can go on in another process, on another node, or after the table has grown.

mod blocks;
mod cells;
mod changes;
mod entry;
mod handoff;
#[doc(hidden)]
pub mod key_index;
mod lock;
pub mod long_blocks;
#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod model;
mod object;
pub mod op;
mod ordered;
mod reclaim;
mod record;
mod scan;
mod schema;
mod slot;
mod standing;
mod state;
mod sync;
mod writer;

use std::sync::Arc;

use crate::epoch::{self, Guard};

pub use changes::{Changes, LoggedKey};
pub use entry::Entry;
pub use handoff::WrongState;
pub use object::{Key, NotAnObject, Object};
pub use op::{Cause, OpCode, OpError, execute, slots_of};
pub use ordered::{Direction, OrderedChunk};
pub use record::Record;
pub use scan::{Cursor, NextError, ScanEnd};
pub use schema::{Schema, TableType};
pub use state::{SlotState, Why};

use crate::placement::{SLOTS, Slot};
use crate::term::word;
use key_index::KeyIndex;
use reclaim::Detached;
use slot::{SlotStore, Slots};
use standing::Standing;
use writer::Writer;

/// Keys of an ordered table that are taken out of its index in one step of [`Table::clear_slots`]:
/// about half a millisecond.
const KEYS_CLEARED: usize = 1_000;

/// A table of one of the types of `:ets`.
pub struct Table {
    slots: Slots,
    schema: Schema,
    standing: Standing,
    /// Of an ordered table: the order of its keys, those of slots that are being received included.
    index: Option<KeyIndex>,
}

/// An operation met a slot that does not serve it. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("slot {} is not served here ({why:?})", slot.index())]
pub struct Unserved {
    /// The first such slot.
    pub slot: Slot,
    /// What to do about it.
    pub why: Why,
}

/// What [`Table::update`] shall do with the object it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Keep,
    /// Store the object that was written to the buffer.
    Put,
    /// Remove it.
    Remove,
}

/// What became of [`Table::add_to_counter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The counter has this small integer's word now.
    Value(u64),
    /// Nothing was changed: the key is absent, the position is the key's or beyond the tuple, the
    /// counter or the sum is no small integer, the record cannot be changed in place, or the table
    /// is a bag. The
    /// general road ([`op`]) tells which, and does what can be done.
    Undecided,
}

impl Table {
    /// An empty table, all of its slots in `state`. Memory is taken when the first slots are used.
    pub fn new(schema: Schema, state: SlotState) -> Self {
        let index = schema.compares_keys().then(KeyIndex::new);
        let table = Table { slots: Slots::new(SLOTS), schema, standing: Standing::new(), index };
        // What the zeroed memory says already need not be written.
        if state != SlotState::Owned {
            table.set_all(state);
        }
        table
    }

    /// Type and key position.
    #[inline]
    pub fn schema(&self) -> Schema {
        self.schema
    }

    #[inline]
    fn store(&self, slot: Slot) -> SlotStore<'_> {
        self.slots.get(slot.index())
    }

    /// Finds what a key has: its object, in a bag its objects.
    ///
    /// # Errors
    /// [`Unserved`] where the key's slot does not serve reads.
    #[inline]
    pub fn get<'g>(
        &'g self,
        key: &Key<'_>,
        _guard: &'g Guard,
    ) -> Result<Option<Entry<'g>>, Unserved> {
        let slot = key.slot();
        // SAFETY: the guard and the table are borrowed for `'g`.
        unsafe { self.store(slot).read(key, self.schema) }.map_err(|why| Unserved { slot, why })
    }

    /// Whether the key has an object.
    ///
    /// # Errors
    /// As [`Table::get`].
    #[inline]
    pub fn contains(&self, key: &Key<'_>, guard: &Guard) -> Result<bool, Unserved> {
        // The entry does not leave this function, so that it need not live as long as the table.
        Ok(self.get(key, guard)?.is_some())
    }

    /// Locks the slot of a write and checks that it serves writes.
    #[inline]
    fn write(&self, slot: Slot) -> Result<Writer<'_>, Unserved> {
        let locked = self.store(slot).lock();
        match locked.check_writable() {
            Ok(()) => Ok(Writer::new(self, locked)),
            Err(why) => Err(Unserved { slot, why }),
        }
    }

    /// Stores an object: in the place of the one with its key if there is one, in a bag beside
    /// those that have its key.
    ///
    /// # Errors
    /// [`Unserved`] where the slot does not serve writes.
    #[inline]
    pub fn insert(&self, object: &Object<'_>) -> Result<(), Unserved> {
        self.write(object.slot())?.put(object);
        Ok(())
    }

    /// Stores an object unless its key has one already. Says whether it was stored.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn insert_new(&self, object: &Object<'_>) -> Result<bool, Unserved> {
        let mut slot = self.write(object.slot())?;
        let absent = slot.find(&object.key()).is_none();
        if absent {
            slot.put_absent(object);
        }
        Ok(absent)
    }

    /// Stores several objects at once: no other write comes between. Of several with one key the
    /// last one wins.
    ///
    /// # Errors
    /// [`Unserved`] where one of the slots does not serve writes; nothing was stored then.
    pub fn insert_many(&self, objects: &[Object<'_>]) -> Result<(), Unserved> {
        let mut locks = self.write_all(objects.iter().map(Object::slot))?;
        for object in objects {
            locks.of(object.slot()).put(object);
        }
        Ok(())
    }

    /// Stores several objects at once if none of their keys has one; says whether it did. Of
    /// several with one key the last one wins, as in `:ets`.
    ///
    /// # Errors
    /// As [`Table::insert_many`].
    pub fn insert_new_many(&self, objects: &[Object<'_>]) -> Result<bool, Unserved> {
        let mut locks = self.write_all(objects.iter().map(Object::slot))?;
        let present = |o: &Object<'_>| locks.of(o.slot()).find(&o.key()).is_some();
        if objects.iter().any(present) {
            return Ok(false);
        }
        for object in objects {
            locks.of(object.slot()).put(object);
        }
        Ok(true)
    }

    /// Locks all slots of a write, in ascending order as everybody does, and checks all of them.
    fn write_all(&self, slots: impl Iterator<Item = Slot>) -> Result<Locks<'_>, Unserved> {
        let mut slots: Vec<Slot> = slots.collect();
        slots.sort_unstable();
        slots.dedup();
        let held: Result<_, _> =
            slots.into_iter().map(|slot| Ok((slot, self.write(slot)?))).collect();
        Ok(Locks { held: held? })
    }

    /// Stores objects that come from another owner of their keys, one key after the other: a key
    /// that has something here keeps it, and in a `bag` gets what it has not. Objects of one key
    /// must follow each other. Answers how many were stored.
    ///
    /// What was sent before, and is sent again, changes nothing.
    ///
    /// # Errors
    /// [`Unserved`] where a slot does not serve writes; objects before it were stored.
    pub fn merge(&self, objects: &[Object<'_>]) -> Result<usize, Unserved> {
        let mut stored = 0;
        for of_key in objects.chunk_by(|a, b| self.is_same_key(a, b)) {
            let mut slot = self.write(of_key[0].slot())?;
            let before = slot.objects();
            if self.schema.table_type() == TableType::Bag || slot.find(&of_key[0].key()).is_none() {
                of_key.iter().for_each(|object| slot.put(object));
            }
            stored += slot.objects() - before;
        }
        Ok(stored)
    }

    fn is_same_key(&self, a: &Object<'_>, b: &Object<'_>) -> bool {
        self.schema.is_same_key(a.key().words, b.key().words)
    }

    /// Removes what a key has. Says whether it had anything.
    ///
    /// # Errors
    /// [`Unserved`] where the slot does not serve writes.
    pub fn remove(&self, key: &Key<'_>) -> Result<bool, Unserved> {
        Ok(self.write(key.slot())?.remove(key, |_| {}))
    }

    /// Removes what a key has and appends it to `out`, object after object. Answers how many
    /// objects it had.
    ///
    /// # Errors
    /// As [`Table::remove`].
    pub fn take(&self, key: &Key<'_>, out: &mut Vec<u64>) -> Result<usize, Unserved> {
        let mut taken = 0;
        self.write(key.slot())?.remove(key, |entry| {
            let records = entry.records();
            taken = records.len();
            records.for_each(|record| record.copy_to(out));
        });
        Ok(taken)
    }

    /// Removes an object if the table has exactly this one (`=:=`), from a duplicate bag all that
    /// are like it. Says whether it had.
    ///
    /// # Errors
    /// As [`Table::remove`].
    pub fn remove_object(&self, object: &Object<'_>) -> Result<bool, Unserved> {
        Ok(self.write(object.slot())?.remove_object(object))
    }

    /// Reads, decides and writes as one step: shows the object of a key, if there is one, to
    /// `decide`, which answers what to do and what to return. To store an object it writes the
    /// whole tuple, with the same key, into the buffer that it gets (empty).
    ///
    /// `decide` runs under the slot's lock: it must not use the table, and should be short. For
    /// tables that are no bags.
    ///
    /// # Errors
    /// [`Unserved`] where the slot does not serve writes; `decide` was not called then.
    ///
    /// # Panics
    /// Where what `decide` wrote is not an object with this key.
    pub fn update<R>(
        &self,
        key: &Key<'_>,
        decide: impl FnOnce(Option<Record<'_>>, &mut Vec<u64>) -> (Change, R),
    ) -> Result<R, Unserved> {
        let mut slot = self.write(key.slot())?;
        let mut words = Vec::new();
        let (change, result) = decide(slot.find(key).map(Entry::first), &mut words);
        match change {
            Change::Keep => {}
            Change::Put => {
                let object = self.schema.object(&words).expect("decide wrote an object");
                let same_key = self.schema.is_same_key(object.key().words, key.words);
                assert!(same_key, "an update keeps the key");
                slot.put(&object);
            }
            Change::Remove => {
                slot.remove(key, |_| {});
            }
        }
        Ok(result)
    }

    /// Adds to a counter that is a small integer and stays one, without allocating.
    ///
    /// `position` counts from 1, `increment` must be within the small integers.
    ///
    /// # Errors
    /// [`Unserved`] where the slot does not serve writes.
    #[inline]
    pub fn add_to_counter(
        &self,
        key: &Key<'_>,
        position: usize,
        increment: i64,
    ) -> Result<Counted, Unserved> {
        let mut slot = self.write(key.slot())?;
        let keypos = self.schema.keypos();
        if position == keypos || self.schema.is_bag() {
            return Ok(Counted::Undecided);
        }
        let counter = |record: Record<'_>| {
            // The usual place, behind a key of known length, needs no walk.
            if keypos == 1 && position == 2 && record.arity() >= 2 && !self.schema.compares_keys() {
                return Some(1 + key.words.len());
            }
            record.element(position).map(|range| range.start)
        };
        let add = |old: u64| {
            if !word::is_small(old) {
                return Err(());
            }
            match word::small_value(old).checked_add(increment) {
                Some(sum) if (word::SMALL_MIN..=word::SMALL_MAX).contains(&sum) => {
                    Ok(word::small(sum))
                }
                _ => Err(()),
            }
        };
        Ok(match slot.change_word(key, counter, add) {
            Some(Ok(sum)) => Counted::Value(sum),
            Some(Err(())) | None => Counted::Undecided,
        })
    }

    /// Deletes all objects of all slots that are owned here, as one step. Answers which slots are
    /// not.
    ///
    /// # Errors
    /// [`Unserved`] with [`Why::Wait`] where a slot is frozen or granted; nothing was deleted then.
    pub fn clear_owned(&self) -> Result<Vec<Slot>, Unserved> {
        let mut held = Vec::with_capacity(SLOTS);
        let mut elsewhere = Vec::new();
        for slot in Slot::all() {
            match self.write(slot) {
                Ok(writer) => held.push(writer),
                Err(Unserved { why: Why::Elsewhere, .. }) => elsewhere.push(slot),
                Err(unserved) => return Err(unserved),
            }
        }
        let objects = held.iter().map(Writer::objects).sum();
        let detach = if elsewhere.is_empty() { Writer::detach_unindexed } else { Writer::detach };
        let arrays = held.iter_mut().map(detach).filter(|array| !array.is_none()).collect();
        if let Some(index) = &self.index
            && elsewhere.is_empty()
        {
            // SAFETY: every slot's lock is held, and keys come and go under these.
            unsafe { index.clear() };
        }
        drop(held);
        // SAFETY: `detach` unlinked them, with all their records.
        unsafe { Detached::new(arrays, objects) }.retire();
        Ok(elsewhere)
    }

    /// Deletes all objects of some slots, one slot after the other. Answers which ones do not serve
    /// writes here, and which ones it has no time for now.
    pub fn clear_slots(&self, slots: &[Slot]) -> Vec<Unserved> {
        if self.index.is_some()
            && slots.len() == SLOTS
            && self.standing.see().serves_all()
            && let Ok(elsewhere) = self.clear_owned()
        {
            let unserved = |slot| Unserved { slot, why: Why::Elsewhere };
            return elsewhere.into_iter().map(unserved).collect();
        }
        let mut arrays = Vec::new();
        let mut unserved = Vec::new();
        let mut objects = 0;
        for &slot in slots {
            // Each key of an ordered table has to be taken out of the index.
            if self.index.is_some() && objects > KEYS_CLEARED {
                unserved.push(Unserved { slot, why: Why::Wait });
                continue;
            }
            match self.write(slot) {
                Ok(mut writer) => {
                    objects += writer.objects();
                    arrays.push(writer.detach());
                }
                Err(error) => unserved.push(error),
            }
        }
        arrays.retain(|array| !array.is_none());
        // SAFETY: `detach` unlinked them, with all their records.
        unsafe { Detached::new(arrays, objects) }.retire();
        unserved
    }

    /// Number of objects in one slot, and the bytes that they and their cells take.
    ///
    /// # Errors
    /// [`Unserved`] where the slot does not serve reads.
    pub fn slot_size(&self, slot: Slot, _guard: &Guard) -> Result<(u64, u64), Unserved> {
        let store = self.store(slot);
        let state = store.status().state();
        if !state.serves_reads() {
            let why = if state == SlotState::Foreign { Why::Elsewhere } else { Why::Wait };
            return Err(Unserved { slot, why });
        }
        let array = store.array();
        let bytes = if array.is_none() { 0 } else { array.bytes() + array.record_bytes() };
        Ok((store.objects().into(), bytes))
    }

    /// Number of objects in slots that serve reads. Exact while nobody writes.
    pub fn len(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.status().state().serves_reads())
            .map(|slot| slot.objects() as usize)
            .sum()
    }

    /// Whether there are no objects in slots that serve reads.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of objects in one slot, whatever its state: what was received counts, too.
    pub fn slot_len(&self, slot: Slot) -> usize {
        self.store(slot).objects() as usize
    }

    /// Bytes that the table takes: its slots, their cells, and all objects, including what is being
    /// received, with what the allocator adds to each. Not counted are the logs of slots that are being copied, and memory that
    /// waits for readers to leave it.
    pub fn memory_bytes(&self) -> u64 {
        let guard = epoch::pin();
        let arrays = self.slots.iter().map(SlotStore::array).filter(|array| !array.is_none());
        let objects = arrays.map(|array| array.bytes() + array.record_bytes()).sum::<u64>();
        objects + self.overhead_bytes(&guard)
    }

    /// Bytes that no slot has in its [size](Table::slot_size): those of the slots themselves, and of
    /// the index of an ordered table.
    pub fn overhead_bytes(&self, guard: &Guard) -> u64 {
        let fixed = size_of::<Self>() + self.slots.bytes();
        fixed as u64 + self.index.as_ref().map_or(0, |index| index.memory_bytes(guard))
    }

    /// Drops a table on a thread of its own. Freeing a million objects takes a tenth of a second,
    /// which is too long for a scheduler; dropping a `Table` anywhere else frees it right there.
    ///
    /// The memory goes back when the last `Arc` is dropped, wherever that is.
    pub fn dismantle_in_background(table: Arc<Self>) {
        if let Err(table) = reclaim::in_background(table, drop) {
            drop(table);
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: records borrow the table, so that nobody has one any more; what was retired
        // before is no longer linked.
        unsafe { self.slots.free() };
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("schema", &self.schema).field("len", &self.len()).finish()
    }
}

/// Locked slots, in ascending order.
struct Locks<'t> {
    held: Vec<(Slot, Writer<'t>)>,
}

impl<'t> Locks<'t> {
    fn of(&mut self, slot: Slot) -> &mut Writer<'t> {
        let at = self.held.binary_search_by_key(&slot, |(slot, _)| *slot);
        &mut self.held[at.expect("the slots of all objects were locked")].1
    }
}
