//! The storage of one slot, and its state.

use std::cell::UnsafeCell;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::cells::{self, Array, Cell, Header};
use super::lock::{Lock, LockGuard};
use super::object::{Key, Object};
use super::reclaim::Reclaim;
use super::record::{Block, Record};
use super::sync::{AtomicPtr, AtomicU32, Ordering};

/// What a node may do with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SlotState {
    /// Reads and writes are served.
    Owned = 0,
    /// Being sent: reads and writes are served, and each key that is written is logged.
    Copying = 1,
    /// The last changes are being sent: reads are served, writes have to wait.
    Frozen = 2,
    /// The grant is sent, its answer is not here yet: everything waits.
    Granted = 3,
    /// Not ours. Data that is being received may be there, invisible.
    Foreign = 4,
}

impl SlotState {
    const fn from_bits(bits: u32) -> SlotState {
        match bits {
            0 => SlotState::Owned,
            1 => SlotState::Copying,
            2 => SlotState::Frozen,
            3 => SlotState::Granted,
            _ => SlotState::Foreign,
        }
    }

    /// Whether reads are served.
    pub const fn serves_reads(self) -> bool {
        matches!(self, SlotState::Owned | SlotState::Copying | SlotState::Frozen)
    }

    /// Whether writes are served.
    pub const fn serves_writes(self) -> bool {
        matches!(self, SlotState::Owned | SlotState::Copying)
    }

    fn why_unserved(self) -> Why {
        match self {
            SlotState::Foreign => Why::Elsewhere,
            _ => Why::Wait,
        }
    }
}

/// Why a slot does not serve an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The slot is about to change its owner: try again when it has.
    Wait,
    /// Another node owns the slot.
    Elsewhere,
}

/// A key that was written while its slot was being copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedKey {
    /// The encoded key.
    pub words: Box<[u64]>,
    /// Its hash.
    pub hash: u64,
}

impl LoggedKey {
    /// The key, for looking its present object up.
    pub fn key(&self) -> Key<'_> {
        Key { words: &self.words, hash: self.hash }
    }
}

impl Hash for LoggedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The hash of a key is good enough for the set of logged keys as it is.
#[derive(Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What changed in a slot since its snapshot began, or since the changes were taken last. Only
/// the keys: their objects are read when the changes are sent, so that a hot key is sent once.
#[derive(Debug, Default)]
pub struct Changes {
    /// Whether all objects were deleted, before the keys below were written.
    pub cleared: bool,
    pub(crate) keys: HashSet<LoggedKey, BuildHasherDefault<AsIs>>,
}

impl Changes {
    /// The keys that were written, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &LoggedKey> {
        self.keys.iter()
    }

    /// How many entries the log has.
    pub fn len(&self) -> usize {
        self.keys.len() + usize::from(self.cleared)
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn wrote(&mut self, key: &Key<'_>) {
        self.keys.insert(LoggedKey { words: key.words.into(), hash: key.hash });
    }
}

/// State and generation of a slot in one word. The generation counts the changes of state, so that
/// a reader that finds the same word again knows that nothing happened in between.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(u32);

impl Status {
    const STATE_BITS: u32 = 0xFF;

    #[inline]
    pub(crate) fn state(self) -> SlotState {
        SlotState::from_bits(self.0 & Self::STATE_BITS)
    }

    fn followed_by(self, state: SlotState) -> Status {
        let generation = (self.0 & !Self::STATE_BITS).wrapping_add(Self::STATE_BITS + 1);
        Status(generation | state as u32)
    }
}

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
    live: AtomicU32,
    /// Number of cells that were ever used in the current array. For the lock's holder only.
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
            live: AtomicU32::new(0),
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
        Status(self.read.status.load(Ordering::Acquire))
    }

    /// The cells as they are now. The caller is pinned or holds the lock.
    #[inline]
    pub(crate) fn array(self) -> Array {
        // Acquire pairs with the Release in `Locked::set_array`.
        Array::from_ptr(self.read.array.load(Ordering::Acquire))
    }

    pub(crate) fn live(self) -> u32 {
        self.write.live.load(Ordering::Relaxed)
    }

    /// Finds the record of a key, whatever the state of the slot.
    ///
    /// # Safety
    /// The caller stays pinned, or holds the lock, for `'t`.
    #[inline]
    pub(crate) unsafe fn find(self, key: &Key<'_>, keypos: usize) -> Option<Record<'t>> {
        let array = self.array();
        if array.is_none() {
            return None;
        }
        array.find(key, keypos).map(|(_, record)| record)
    }

    /// Finds the record of a key in a slot that serves reads.
    ///
    /// # Safety
    /// As for [`SlotStore::find`].
    #[inline]
    pub(crate) unsafe fn read(
        self,
        key: &Key<'_>,
        keypos: usize,
    ) -> Result<Option<Record<'t>>, Why> {
        loop {
            let status = self.status();
            if !status.state().serves_reads() {
                return Err(status.state().why_unserved());
            }
            // SAFETY: the caller's promise.
            let found = unsafe { self.find(key, keypos) };
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

/// A slot whose lock is held.
pub(crate) struct Locked<'t> {
    store: SlotStore<'t>,
    _guard: LockGuard<'t>,
}

impl<'t> Locked<'t> {
    #[inline]
    pub(crate) fn state(&self) -> SlotState {
        Status(self.store.read.status.load(Ordering::Relaxed)).state()
    }

    #[inline]
    pub(crate) fn check_writable(&self) -> Result<(), Why> {
        let state = self.state();
        if state.serves_writes() { Ok(()) } else { Err(state.why_unserved()) }
    }

    pub(crate) fn live(&self) -> u32 {
        self.store.live()
    }

    pub(crate) fn set_state(&mut self, state: SlotState) {
        let status = Status(self.store.read.status.load(Ordering::Relaxed)).followed_by(state);
        if state != SlotState::Copying && state != SlotState::Frozen {
            *self.log() = None;
        }
        // Release pairs with the Acquire in `SlotStore::status`.
        self.store.read.status.store(status.0, Ordering::Release);
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
    fn lookup(&self, key: &Key<'_>, keypos: usize) -> Option<(&'t Cell, Record<'t>)> {
        let array = self.array();
        if array.is_none() { None } else { array.find(key, keypos) }
    }

    /// The object of a key. It stays as it is, but for changes through `self`, while the lock is
    /// held.
    #[inline]
    pub(crate) fn find(&self, key: &Key<'_>, keypos: usize) -> Option<Record<'_>> {
        self.lookup(key, keypos).map(|(_, record)| record)
    }

    /// Inserts or replaces an object. Says whether its key was there.
    pub(crate) fn put(
        &mut self,
        object: &Object<'_>,
        keypos: usize,
        reclaim: &impl Reclaim,
    ) -> bool {
        let key = object.key();
        self.wrote(&key);
        match self.lookup(&key, keypos) {
            Some((cell, record)) => {
                self.replace(cell, record, object.words(), reclaim);
                true
            }
            None => {
                self.add(key.hash, object.words(), reclaim);
                false
            }
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
        self.array().count_bytes(8 * words.len() as u64, record.bytes());
        cell.replace(new);
        // SAFETY: the cell that had it has another one now, and the lock keeps others from
        // retiring it too.
        unsafe { reclaim.retire_record(record.block()) };
    }

    fn add(&mut self, hash: u64, words: &[u64], reclaim: &impl Reclaim) {
        let live = self.store.write.live.load(Ordering::Relaxed);
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
                    self.store.write.live.store(live + 1, Ordering::Relaxed);
                    array.count_bytes(8 * words.len() as u64, 0);
                    vacancy.fill(hash, record);
                    return;
                }
                Some(_) => {
                    let homes = cells::homes_for(live + 1);
                    self.rebuild(homes, cells::spare_for(homes), reclaim);
                }
                // The last run has used up the spare cells.
                None => {
                    let homes = cells::homes_for(live + 1);
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
        self.set_array(new, self.store.write.live.load(Ordering::Relaxed));
        // SAFETY: the slot has another array now, and only the lock's holder retires arrays.
        unsafe { reclaim.retire_array(old) };
    }

    /// Removes the object of a key, after showing it to `wanted`, which may refuse. Says whether
    /// it was removed.
    pub(crate) fn remove(
        &mut self,
        key: &Key<'_>,
        keypos: usize,
        reclaim: &impl Reclaim,
        wanted: impl FnOnce(Record<'_>) -> bool,
    ) -> bool {
        let Some((cell, record)) = self.lookup(key, keypos) else { return false };
        if !wanted(record) {
            return false;
        }
        self.wrote(key);
        let array = self.array();
        array.count_bytes(0, record.bytes());
        let used = self.store.write.used.load(Ordering::Relaxed) - array.vacate(cell);
        let live = self.store.write.live.load(Ordering::Relaxed) - 1;
        self.store.write.used.store(used, Ordering::Relaxed);
        self.store.write.live.store(live, Ordering::Relaxed);
        // SAFETY: the cell is vacant now, and the lock keeps others from retiring it too.
        unsafe { reclaim.retire_record(record.block()) };
        // An array that became empty stays, in its smallest form: a slot in which one key comes
        // and goes would otherwise allocate all the time.
        if array.homes() > cells::MIN_HOMES && u64::from(live) * 8 < u64::from(array.homes()) {
            let homes = cells::homes_for(live);
            self.rebuild(homes, cells::spare_for(homes), reclaim);
        }
        true
    }

    /// Changes one word of the object of a key in place, to what `change` makes of it. Answers
    /// what `change` answered, or `None` where that cannot be done.
    #[inline]
    pub(crate) fn change_word<E>(
        &mut self,
        key: &Key<'_>,
        keypos: usize,
        find_word: impl FnOnce(Record<'_>) -> Option<usize>,
        change: impl FnOnce(u64) -> Result<u64, E>,
    ) -> Option<Result<u64, E>> {
        let (_, record) = self.lookup(key, keypos)?;
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
        self.store.write.live.store(0, Ordering::Relaxed);
        if let Some(log) = self.log() {
            log.keys.clear();
            log.cleared = true;
        }
        array
    }
}
