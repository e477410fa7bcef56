//! Tables: the objects of one node, by slot.
//!
//! A [`Table`] has one flat array of [`SLOTS`] slots. The slot is the unit of storage, of locking
//! and of ownership: each has its own array of cells, its lock, and its [`SlotState`]. Reads take
//! no lock and wait for nobody; a write locks one slot. Tables grow and shrink slot by slot, a few
//! hundred objects at a time even in a table of millions.
//!
//! ```
//! use pets_core::table::{Key, Object, SlotState, Table};
//! use pets_core::term::word::{Kind, header, small};
//!
//! let table = Table::new(1, SlotState::Owned);
//! let words = [header(Kind::Tuple, 2), small(1), small(42)];
//! let object = Object::new(&words, table.keypos())?;
//! assert!(table.insert_new(&object)?);
//!
//! let guard = pets_core::epoch::pin();
//! let found = table.get(&Key::new(&[small(1)]), &guard)?.expect("it was inserted");
//! assert_eq!(found.word(2), small(42));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Iteration has one order everywhere: by slot, and within a slot by hash, then by the exact order
//! of the keys. It does not depend on the size of the table or on its history, so that a traversal
//! can go on in another process, on another node, or after the table has grown.

mod blocks;
mod cells;
mod handoff;
mod lock;
#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod model;
mod object;
pub mod op;
mod reclaim;
mod record;
mod scan;
mod slot;
mod sync;

use std::sync::Arc;

use crate::epoch::{self, Guard};

pub use handoff::WrongState;
pub use object::{Key, NotAnObject, Object};
pub use op::{Cause, OpCode, OpError, execute, slots_of};
pub use record::Record;
pub use scan::{Cursor, NextError, ScanEnd};
pub use slot::{Changes, LoggedKey, SlotState, Why};

use crate::placement::{SLOTS, Slot};
use crate::term::word;
use reclaim::{Detached, Epochs};
use slot::{Locked, SlotStore, Slots};

/// A table of type `set`: one object for each key, keys told apart by `=:=`.
pub struct Table {
    slots: Slots,
    keypos: usize,
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
    /// counter or the sum is no small integer, or the record cannot be changed in place. The
    /// general road ([`op`]) tells which, and does what can be done.
    Undecided,
}

impl Table {
    /// An empty table with the key at the 1-based position `keypos`, all of its slots in `state`.
    /// Memory is taken when the first slots are used.
    ///
    /// # Panics
    /// Where `keypos` is 0.
    pub fn new(keypos: usize, state: SlotState) -> Self {
        assert!(keypos > 0, "key positions count from 1");
        let table = Table { slots: Slots::new(SLOTS), keypos };
        // What the zeroed memory says already need not be written.
        if state != SlotState::Owned {
            table.set_all(state);
        }
        table
    }

    /// The 1-based position of the key.
    #[inline]
    pub fn keypos(&self) -> usize {
        self.keypos
    }

    #[inline]
    fn store(&self, slot: Slot) -> SlotStore<'_> {
        self.slots.get(slot.index())
    }

    /// Finds the object of a key.
    ///
    /// # Errors
    /// [`Unserved`] where the key's slot does not serve reads.
    #[inline]
    pub fn get<'g>(
        &'g self,
        key: &Key<'_>,
        _guard: &'g Guard,
    ) -> Result<Option<Record<'g>>, Unserved> {
        let slot = key.slot();
        // SAFETY: the guard and the table are borrowed for `'g`.
        unsafe { self.store(slot).read(key, self.keypos) }.map_err(|why| Unserved { slot, why })
    }

    /// Whether the key has an object.
    ///
    /// # Errors
    /// As [`Table::get`].
    #[inline]
    pub fn contains(&self, key: &Key<'_>, guard: &Guard) -> Result<bool, Unserved> {
        // A record does not leave this function, so that it need not live as long as the table.
        Ok(self.get(key, guard)?.is_some())
    }

    /// Locks the slot of a write and checks that it serves writes.
    #[inline]
    fn write(&self, slot: Slot) -> Result<Locked<'_>, Unserved> {
        let locked = self.store(slot).lock();
        match locked.check_writable() {
            Ok(()) => Ok(locked),
            Err(why) => Err(Unserved { slot, why }),
        }
    }

    /// Stores an object, in the place of the one with its key if there is one.
    ///
    /// # Errors
    /// [`Unserved`] where the slot does not serve writes.
    #[inline]
    pub fn insert(&self, object: &Object<'_>) -> Result<(), Unserved> {
        self.write(object.slot())?.put(object, self.keypos, &Epochs);
        Ok(())
    }

    /// Stores an object unless its key has one already. Says whether it was stored.
    ///
    /// This is also how the objects of another owner are merged into a slot that is served here.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn insert_new(&self, object: &Object<'_>) -> Result<bool, Unserved> {
        let mut locked = self.write(object.slot())?;
        let absent = locked.find(&object.key(), self.keypos).is_none();
        if absent {
            locked.put_absent(object, &Epochs);
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
            locks.of(object.slot()).put(object, self.keypos, &Epochs);
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
        let present = |o: &Object<'_>| locks.of(o.slot()).find(&o.key(), self.keypos).is_some();
        if objects.iter().any(present) {
            return Ok(false);
        }
        for object in objects {
            locks.of(object.slot()).put(object, self.keypos, &Epochs);
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

    /// Removes the object of a key. Says whether there was one.
    ///
    /// # Errors
    /// [`Unserved`] where the slot does not serve writes.
    pub fn remove(&self, key: &Key<'_>) -> Result<bool, Unserved> {
        Ok(self.write(key.slot())?.remove(key, self.keypos, &Epochs, |_| true))
    }

    /// Removes the object of a key and appends it to `out`. Says whether there was one.
    ///
    /// # Errors
    /// As [`Table::remove`].
    pub fn take(&self, key: &Key<'_>, out: &mut Vec<u64>) -> Result<bool, Unserved> {
        let keep_copy = |record: Record<'_>| {
            record.copy_to(out);
            true
        };
        Ok(self.write(key.slot())?.remove(key, self.keypos, &Epochs, keep_copy))
    }

    /// Removes an object if the table has exactly this one (`=:=`). Says whether it had.
    ///
    /// # Errors
    /// As [`Table::remove`].
    pub fn remove_object(&self, object: &Object<'_>) -> Result<bool, Unserved> {
        let same = |record: Record<'_>| record.equals(object.words());
        Ok(self.write(object.slot())?.remove(&object.key(), self.keypos, &Epochs, same))
    }

    /// Reads, decides and writes as one step: shows the object of a key, if there is one, to
    /// `decide`, which answers what to do and what to return. To store an object it writes the
    /// whole tuple, with the same key, into the buffer that it gets (empty).
    ///
    /// `decide` runs under the slot's lock: it must not use the table, and should be short.
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
        let mut locked = self.write(key.slot())?;
        let mut words = Vec::new();
        let (change, result) = decide(locked.find(key, self.keypos), &mut words);
        match change {
            Change::Keep => {}
            Change::Put => {
                let object = Object::new(&words, self.keypos).expect("decide wrote an object");
                assert!(object.key().words == key.words, "an update keeps the key");
                locked.put(&object, self.keypos, &Epochs);
            }
            Change::Remove => {
                locked.remove(key, self.keypos, &Epochs, |_| true);
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
        let mut locked = self.write(key.slot())?;
        if position == self.keypos {
            return Ok(Counted::Undecided);
        }
        let counter = |record: Record<'_>| {
            // The usual place, behind a key of known length, needs no walk.
            if self.keypos == 1 && position == 2 && record.arity() >= 2 {
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
        Ok(match locked.change_word(key, self.keypos, counter, add) {
            Some(Ok(sum)) => Counted::Value(sum),
            Some(Err(())) | None => Counted::Undecided,
        })
    }

    /// Deletes all objects of all slots that are owned here, as one step.
    ///
    /// # Errors
    /// [`Unserved`] with [`Why::Wait`] where a slot is frozen or granted; nothing was deleted then.
    pub fn clear_owned(&self) -> Result<(), Unserved> {
        let mut held = Vec::with_capacity(SLOTS);
        for slot in Slot::all() {
            let locked = self.store(slot).lock();
            match locked.check_writable() {
                Ok(()) => held.push(locked),
                Err(Why::Elsewhere) => {}
                Err(why @ Why::Wait) => return Err(Unserved { slot, why }),
            }
        }
        let objects = held.iter().map(|locked| locked.live() as usize).sum();
        let arrays = held.iter_mut().map(Locked::detach).filter(|array| !array.is_none()).collect();
        drop(held);
        // SAFETY: `detach` unlinked them, with all their records.
        unsafe { Detached::new(arrays, objects) }.retire();
        Ok(())
    }

    /// Deletes all objects of some slots, one slot after the other. Answers which ones do not serve
    /// writes here.
    pub fn clear_slots(&self, slots: &[Slot]) -> Vec<Unserved> {
        let mut arrays = Vec::new();
        let mut unserved = Vec::new();
        let mut objects = 0;
        for &slot in slots {
            let mut locked = self.store(slot).lock();
            match locked.check_writable() {
                Ok(()) => {
                    objects += locked.live() as usize;
                    arrays.push(locked.detach());
                }
                Err(why) => unserved.push(Unserved { slot, why }),
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
        Ok((store.live().into(), bytes))
    }

    /// Number of objects in slots that serve reads. Exact while nobody writes.
    pub fn len(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.status().state().serves_reads())
            .map(|slot| slot.live() as usize)
            .sum()
    }

    /// Whether there are no objects in slots that serve reads.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of objects in one slot, whatever its state: what was received counts, too.
    pub fn slot_len(&self, slot: Slot) -> usize {
        self.store(slot).live() as usize
    }

    /// Bytes that the table has allocated: its slots, their cells, and all objects, including what
    /// is being received. Not counted are the logs of slots that are being copied, and memory that
    /// waits for readers to leave it.
    pub fn memory_bytes(&self) -> u64 {
        let _guard = epoch::pin();
        let fixed = size_of::<Self>() + self.slots.bytes();
        let arrays = self.slots.iter().map(SlotStore::array).filter(|array| !array.is_none());
        fixed as u64 + arrays.map(|array| array.bytes() + array.record_bytes()).sum::<u64>()
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
        f.debug_struct("Table").field("keypos", &self.keypos).field("len", &self.len()).finish()
    }
}

/// Locked slots, in ascending order.
struct Locks<'t> {
    held: Vec<(Slot, Locked<'t>)>,
}

impl<'t> Locks<'t> {
    fn of(&mut self, slot: Slot) -> &mut Locked<'t> {
        let at = self.held.binary_search_by_key(&slot, |(slot, _)| *slot);
        &mut self.held[at.expect("the slots of all objects were locked")].1
    }
}
