//! The storage of one slot.

use std::cell::UnsafeCell;

use super::blocks;
use super::cells::{self, Array, Cell, Header};
use super::changes::Changes;
use super::entry::{Added, Entry, Tagged};
use super::lock::{Lock, LockGuard};
use super::object::{Key, Object};
use super::reclaim::Reclaim;
use super::record::{Block, Record};
use super::schema::{Schema, TableType};
use super::state::{SlotState, Status, Why};
use super::sync::{AtomicPtr, AtomicU32, Ordering};

/// The slots of a table, each in two parts that lie on different cache lines: what every operation
/// reads, and what every write changes. So nobody waits for a line with the address of an array
/// because another core has just taken or left the lock beside it.
pub(crate) struct Slots {
    read: Box<[ReadPart]>,
    write: Box<[WritePart]>,
}

/// All zero bytes are an owned slot without objects.
struct ReadPart {
    /// The cells. Stored by the lock's holder, read by anybody who is pinned.
    array: AtomicPtr<Header>,
    /// A [`Status`]. Stored by the lock's holder; readers look before they read, and again when
    /// they found nothing.
    status: AtomicU32,
}

/// All zero bytes are a free lock, no objects, and no log.
struct WritePart {
    /// Changes while the slot is `Copying`. Only touched by the lock's holder.
    log: UnsafeCell<Option<Box<Changes>>>,
    /// Number of objects. Stored by the lock's holder, read by anybody.
    objects: AtomicU32,
    /// Number of keys, each of which has a cell. For the lock's holder only, as the next one.
    keys: AtomicU32,
    /// Number of cells that were ever used in the current array.
    used: AtomicU32,
    lock: Lock,
}

// SAFETY: the log is only touched by the lock's holder, everything else is atomic.
unsafe impl Sync for WritePart {}
// SAFETY: as above.
unsafe impl Send for WritePart {}
// SAFETY: everything is atomic. Records and arrays behind the pointer may be freed by any thread.
unsafe impl Sync for ReadPart {}
// SAFETY: as above.
unsafe impl Send for ReadPart {}

impl Slots {
    /// So many slots, owned and empty.
    #[cfg(not(all(test, loom)))]
    pub(crate) fn new(count: usize) -> Self {
        // SAFETY: for either part zero bytes are a value: null pointers, no log (`None` of a
        // `Box` is null), a free lock (`false`), and numbers.
        unsafe { Slots { read: zeroed(count), write: zeroed(count) } }
    }

    #[cfg(all(test, loom))]
    pub(crate) fn new(count: usize) -> Self {
        let read =
            |_| ReadPart { array: AtomicPtr::new(std::ptr::null_mut()), status: AtomicU32::new(0) };
        let write = |_| WritePart {
            log: UnsafeCell::new(None),
            objects: AtomicU32::new(0),
            keys: AtomicU32::new(0),
            used: AtomicU32::new(0),
            lock: Lock::new(),
        };
        Slots { read: (0..count).map(read).collect(), write: (0..count).map(write).collect() }
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> SlotStore<'_> {
        SlotStore { read: &self.read[index], write: &self.write[index] }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = SlotStore<'_>> {
        let parts = self.read.iter().zip(&self.write);
        parts.map(|(read, write)| SlotStore { read, write })
    }

    /// Bytes without what the slots point to.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.read) + size_of_val(&*self.write)
    }

    /// Frees all objects.
    ///
    /// # Safety
    /// Nobody else uses the slots, now or later.
    pub(crate) unsafe fn free(&mut self) {
        for part in &mut self.read {
            let array = Array::from_ptr(part.array.load(Ordering::Relaxed));
            if !array.is_none() {
                // SAFETY: nobody else uses the slot.
                unsafe { array.free(true) };
            }
            part.array.store(Array::NONE.as_ptr(), Ordering::Relaxed);
        }
    }
}

/// Zeroed by the system, page by page when a page is used: a table with few objects is small.
///
/// # Safety
/// Zero bytes are a value of `T`.
#[cfg(not(all(test, loom)))]
unsafe fn zeroed<T>(count: usize) -> Box<[T]> {
    use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};

    let layout = Layout::array::<T>(count).expect("the slots fit the address space");
    assert!(layout.size() > 0, "a table has slots");
    // SAFETY: the layout is not empty.
    let start = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if start.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: the layout is that of such a slice, and zero bytes are its values.
    unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(start, count)) }
}

/// One slot of a table.
#[derive(Clone, Copy)]
pub(crate) struct SlotStore<'t> {
    read: &'t ReadPart,
    write: &'t WritePart,
}

impl<'t> SlotStore<'t> {
    #[inline]
    pub(crate) fn status(self) -> Status {
        // Acquire pairs with the Release in `Locked::set_state`: what was done to the data before
        // the change of state is visible.
        Status::from_bits(self.read.status.load(Ordering::Acquire))
    }

    /// The cells as they are now. The caller is pinned or holds the lock.
    #[inline]
    pub(crate) fn array(self) -> Array {
        // Acquire pairs with the Release in `Locked::set_array`.
        Array::from_ptr(self.read.array.load(Ordering::Acquire))
    }

    pub(crate) fn objects(self) -> u32 {
        self.write.objects.load(Ordering::Relaxed)
    }

    /// Finds what a key has, whatever the state of the slot.
    ///
    /// # Safety
    /// The caller stays pinned, or holds the lock, for `'t`.
    #[inline]
    pub(crate) unsafe fn find(self, key: &Key<'_>, schema: Schema) -> Option<Entry<'t>> {
        let array = self.array();
        if array.is_none() {
            return None;
        }
        array.find(key, schema).map(|(_, entry)| entry)
    }

    /// Finds what a key has in a slot that serves reads.
    ///
    /// # Safety
    /// As for [`SlotStore::find`].
    #[inline]
    pub(crate) unsafe fn read(
        self,
        key: &Key<'_>,
        schema: Schema,
    ) -> Result<Option<Entry<'t>>, Why> {
        loop {
            let status = self.status();
            if !status.state().serves_reads() {
                return Err(status.state().why_unserved());
            }
            // SAFETY: the caller's promise.
            let found = unsafe { self.find(key, schema) };
            // Nothing found may mean that the slot has gone meanwhile. A slot that went away had
            // its state changed before its array was taken, and the array was loaded with Acquire.
            if found.is_some() || self.status() == status {
                return Ok(found);
            }
        }
    }

    #[inline]
    pub(crate) fn lock(self) -> Locked<'t> {
        Locked { store: self, _guard: self.write.lock.lock() }
    }
}

/// What [`Locked::remove_object`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The object is not there.
    Nothing,
    /// The object is gone, its key has others.
    Object,
    /// The object is gone, and so is its key.
    Key,
}

/// A slot whose lock is held.
pub(crate) struct Locked<'t> {
    store: SlotStore<'t>,
    _guard: LockGuard<'t>,
}

impl<'t> Locked<'t> {
    #[inline]
    pub(crate) fn state(&self) -> SlotState {
        Status::from_bits(self.store.read.status.load(Ordering::Relaxed)).state()
    }

    #[inline]
    pub(crate) fn check_writable(&self) -> Result<(), Why> {
        let state = self.state();
        if state.serves_writes() { Ok(()) } else { Err(state.why_unserved()) }
    }

    pub(crate) fn objects(&self) -> u32 {
        self.store.objects()
    }

    fn add_objects(&self, objects: u32) {
        self.store.write.objects.store(self.objects() + objects, Ordering::Relaxed);
    }

    fn subtract_objects(&self, objects: u32) {
        self.store.write.objects.store(self.objects() - objects, Ordering::Relaxed);
    }

    pub(crate) fn set_state(&mut self, state: SlotState) {
        let status =
            Status::from_bits(self.store.read.status.load(Ordering::Relaxed)).followed_by(state);
        if state != SlotState::Copying && state != SlotState::Frozen {
            *self.log() = None;
        }
        // Release pairs with the Acquire in `SlotStore::status`.
        self.store.read.status.store(status.to_bits(), Ordering::Release);
    }

    pub(crate) fn log(&mut self) -> &mut Option<Box<Changes>> {
        // SAFETY: only the lock's holder touches the log, and `self` is the only one.
        unsafe { &mut *self.store.write.log.get() }
    }

    /// Notes that a key is about to be, or was, written. Does nothing while nobody copies the slot.
    #[inline]
    fn wrote(&mut self, key: &Key<'_>) {
        if self.state() != SlotState::Owned
            && let Some(log) = self.log()
        {
            log.wrote(key);
        }
    }

    #[inline]
    fn array(&self) -> Array {
        // Relaxed: arrays are stored under the lock.
        Array::from_ptr(self.store.read.array.load(Ordering::Relaxed))
    }

    fn set_array(&self, array: Array, used: u32) {
        // Release pairs with the Acquire in `SlotStore::array`: the cells are visible.
        self.store.read.array.store(array.as_ptr(), Ordering::Release);
        self.store.write.used.store(used, Ordering::Relaxed);
    }

    #[inline]
    fn lookup(&self, key: &Key<'_>, schema: Schema) -> Option<(&'t Cell, Entry<'t>)> {
        let array = self.array();
        if array.is_none() { None } else { array.find(key, schema) }
    }

    /// What a key has. It stays as it is, but for changes through `self`, while the lock is held.
    #[inline]
    pub(crate) fn find(&self, key: &Key<'_>, schema: Schema) -> Option<Entry<'_>> {
        self.lookup(key, schema).map(|(_, entry)| entry)
    }

    /// Inserts an object: in the place of the one with its key, or in a bag beside those that have
    /// it.
    pub(crate) fn put(&mut self, object: &Object<'_>, schema: Schema, reclaim: &impl Reclaim) {
        let key = object.key();
        self.wrote(&key);
        match self.lookup(&key, schema) {
            None => self.add(key.hash, object.words(), reclaim),
            Some((cell, entry)) => match schema.table_type() {
                TableType::Set | TableType::OrderedSet => {
                    self.replace(cell, entry.first(), object.words(), reclaim);
                }
                TableType::DuplicateBag => self.append(cell, entry, object.words(), reclaim),
                TableType::Bag => {
                    if !entry.records().any(|record| record.equals(object.words())) {
                        self.append(cell, entry, object.words(), reclaim);
                    }
                }
            },
        }
    }

    /// Inserts an object whose key is absent.
    pub(crate) fn put_absent(&mut self, object: &Object<'_>, reclaim: &impl Reclaim) {
        let key = object.key();
        self.wrote(&key);
        self.add(key.hash, object.words(), reclaim);
    }

    fn replace(&self, cell: &Cell, record: Record<'_>, words: &[u64], reclaim: &impl Reclaim) {
        if record.store(words) {
            return;
        }
        let new = Block::allocate(words);
        self.array().count_bytes(blocks::bytes(words.len()), record.bytes());
        cell.replace(Tagged::record(new));
        // SAFETY: the cell that had it has another one now, and the lock keeps others from
        // retiring it too.
        unsafe { reclaim.retire_record(record.block()) };
    }

    /// Puts an object behind the others of its key.
    fn append(&self, cell: &Cell, entry: Entry<'_>, words: &[u64], reclaim: &impl Reclaim) {
        let added = entry.with(Block::allocate(words));
        self.add_objects(1);
        match added {
            Added::InPlace => self.array().count_bytes(blocks::bytes(words.len()), 0),
            Added::Replaced(tagged) => {
                // SAFETY: the caller holds the lock, under which entries are retired.
                let bytes = unsafe { Entry::new(tagged) }.bytes();
                self.array().count_bytes(bytes, entry.bytes());
                cell.replace(tagged);
                // SAFETY: as in `replace`; its records are in the new entry.
                unsafe { entry.retire_group(reclaim) };
            }
        }
    }

    fn add(&mut self, hash: u64, words: &[u64], reclaim: &impl Reclaim) {
        let keys = self.store.write.keys.load(Ordering::Relaxed);
        let record = Block::allocate(words);
        if self.array().is_none() {
            let homes = cells::MIN_HOMES;
            self.set_array(Array::allocate(homes, cells::spare_for(homes)), 0);
        }
        loop {
            let array = self.array();
            let used = self.store.write.used.load(Ordering::Relaxed);
            match array.vacancy(hash) {
                Some(vacancy) if !vacancy.fresh || !array.is_full_with(used + 1) => {
                    self.store.write.used.store(used + u32::from(vacancy.fresh), Ordering::Relaxed);
                    self.store.write.keys.store(keys + 1, Ordering::Relaxed);
                    self.add_objects(1);
                    array.count_bytes(blocks::bytes(words.len()), 0);
                    vacancy.fill(hash, Tagged::record(record));
                    return;
                }
                Some(_) => {
                    let homes = cells::homes_for(keys + 1);
                    self.rebuild(homes, cells::spare_for(homes), reclaim);
                }
                // The last run has used up the spare cells.
                None => {
                    let homes = cells::homes_for(keys + 1);
                    let spare = if homes > array.homes() {
                        cells::spare_for(homes)
                    } else {
                        array.spare() * 2
                    };
                    self.rebuild(homes, spare, reclaim);
                }
            }
        }
    }

    fn rebuild(&self, homes: u32, spare: u32, reclaim: &impl Reclaim) {
        let old = self.array();
        let new = old.rebuilt(homes, spare);
        self.set_array(new, self.store.write.keys.load(Ordering::Relaxed));
        // SAFETY: the slot has another array now, and only the lock's holder retires arrays.
        unsafe { reclaim.retire_array(old) };
    }

    /// Removes what a key has, after showing it to `seen`. Says whether it had anything.
    pub(crate) fn remove(
        &mut self,
        key: &Key<'_>,
        schema: Schema,
        reclaim: &impl Reclaim,
        seen: impl FnOnce(Entry<'_>),
    ) -> bool {
        let Some((cell, entry)) = self.lookup(key, schema) else { return false };
        seen(entry);
        self.wrote(key);
        self.vacate(cell, entry);
        // SAFETY: the cell is vacant now, and the lock keeps others from retiring it too.
        unsafe { entry.retire(reclaim) };
        self.shrink(reclaim);
        true
    }

    /// Removes exactly this object, in a duplicate bag as often as it is there. Says whether it was
    /// there, and whether that leaves its key without any.
    pub(crate) fn remove_object(
        &mut self,
        object: &Object<'_>,
        schema: Schema,
        reclaim: &impl Reclaim,
    ) -> Removed {
        let key = object.key();
        let Some((cell, entry)) = self.lookup(&key, schema) else { return Removed::Nothing };
        let is_it = |record: &Record<'_>| record.equals(object.words());
        let (gone, kept): (Vec<Record<'_>>, Vec<_>) = entry.records().partition(is_it);
        if gone.is_empty() {
            return Removed::Nothing;
        }
        self.wrote(&key);
        let removed = match Entry::only(&kept) {
            None => {
                self.vacate(cell, entry);
                Removed::Key
            }
            Some(tagged) => {
                // SAFETY: the caller holds the lock, under which entries are retired.
                let bytes = unsafe { Entry::new(tagged) }.bytes();
                self.array().count_bytes(bytes, entry.bytes());
                self.subtract_objects(gone.len() as u32);
                cell.replace(tagged);
                Removed::Object
            }
        };
        for record in gone {
            // SAFETY: it is in no cell any more, and the lock keeps others from retiring it too.
            unsafe { reclaim.retire_record(record.block()) };
        }
        // SAFETY: as above; the other records are in the new entry.
        unsafe { entry.retire_group(reclaim) };
        self.shrink(reclaim);
        removed
    }

    /// Takes an entry out of its cell.
    fn vacate(&self, cell: &Cell, entry: Entry<'_>) {
        let array = self.array();
        array.count_bytes(0, entry.bytes());
        let used = self.store.write.used.load(Ordering::Relaxed) - array.vacate(cell);
        let keys = self.store.write.keys.load(Ordering::Relaxed) - 1;
        self.store.write.used.store(used, Ordering::Relaxed);
        self.store.write.keys.store(keys, Ordering::Relaxed);
        self.subtract_objects(entry.records().len() as u32);
    }

    /// Makes the array smaller if it has become too large. One that became empty stays, in its
    /// smallest form: a slot in which one key comes and goes would otherwise allocate all the time.
    fn shrink(&self, reclaim: &impl Reclaim) {
        let homes = self.array().homes();
        let keys = self.store.write.keys.load(Ordering::Relaxed);
        if homes > cells::MIN_HOMES && u64::from(keys) * 8 < u64::from(homes) {
            let homes = cells::homes_for(keys);
            self.rebuild(homes, cells::spare_for(homes), reclaim);
        }
    }

    /// Changes one word of the object of a key in place, to what `change` makes of it. Answers
    /// what `change` answered, or `None` where that cannot be done.
    #[inline]
    pub(crate) fn change_word<E>(
        &mut self,
        key: &Key<'_>,
        schema: Schema,
        find_word: impl FnOnce(Record<'_>) -> Option<usize>,
        change: impl FnOnce(u64) -> Result<u64, E>,
    ) -> Option<Result<u64, E>> {
        let record = self.lookup(key, schema)?.1.first();
        let index = find_word(record)?;
        match change(record.word(index)) {
            Ok(new) if record.store_word(index, new) => {
                self.wrote(key);
                Some(Ok(new))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Takes all objects out of the slot and hands them to the caller, who retires them.
    pub(crate) fn detach(&mut self) -> Array {
        let array = self.array();
        self.set_array(Array::NONE, 0);
        self.store.write.keys.store(0, Ordering::Relaxed);
        self.store.write.objects.store(0, Ordering::Relaxed);
        if let Some(log) = self.log() {
            log.keys.clear();
            log.cleared = true;
        }
        array
    }
}
