//! The array of cells that holds the objects of one slot: open addressing with linear probing,
//! in the order of the hash.
//!
//! A key's *home* is its hash below the slot's bits, scaled to the array; its cell is at home or
//! after it, with only cells that are or were in use between. There is no wrapping around: spare
//! cells follow the last home, and the very last cell is never used, so that every probe ends. The
//! homes of two keys are in the order of their hashes, which makes the successor of a hash a matter
//! of one run of used cells.
//!
//! Readers take no lock. What they rely on:
//! * a cell's record is published after its hash, and its hash changes only while it has no record;
//! * a run is never broken before a key that is present: a cell goes back to "never used" only
//!   when the cell after it is such a cell already;
//! * an array that is no longer current keeps its last state until nobody can read it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
// The counters of an array take no part in the readers' protocol: loom need not see them.
use std::sync::atomic::AtomicU64 as Counter;

use super::blocks;
use super::entry::{Entry, Tagged};
use super::object::Key;
use super::record::Block;
use super::schema::Schema;
use super::sync::{AtomicPtr, AtomicU64, Ordering};

/// One place for an object.
#[repr(C)]
pub(crate) struct Cell {
    /// Hash of the key, 0 in a cell that was never used. Written by the holder of the slot's lock,
    /// and only while `record` is null.
    hash: AtomicU64,
    /// The object, or a [tagged](Tagged) group of them; null in a cell that has none (any more).
    /// Written under the slot's lock.
    record: AtomicPtr<Block>,
}

impl Cell {
    fn new() -> Self {
        Cell { hash: AtomicU64::new(0), record: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The record and its hash, as they were at one moment; `None` where there is no record.
    #[inline]
    fn load(&self) -> Option<(u64, Tagged)> {
        loop {
            // Acquire pairs with `Release` in `publish`: the record's words and its hash are there.
            let record = NonNull::new(self.record.load(Ordering::Acquire))?;
            // Acquire pairs with `Release` in `claim` and `forget`: a hash that was written after
            // the record left the cell comes with that record's absence.
            let hash = self.hash.load(Ordering::Acquire);
            if self.record.load(Ordering::Relaxed) == record.as_ptr() {
                return Some((hash, Tagged::from_ptr(record)));
            }
        }
    }

    /// What is in the cell, for the lock's holder or the array's owner.
    fn tagged(&self) -> Option<Tagged> {
        NonNull::new(self.record.load(Ordering::Relaxed)).map(Tagged::from_ptr)
    }

    /// Gives a cell without a record to a hash.
    fn claim(&self, hash: u64) {
        // Relaxed loads of cells in this file are those of the lock's holder, who sees everything
        // that earlier holders wrote.
        if self.hash.load(Ordering::Relaxed) != hash {
            // Release pairs with the Acquire of the hash in `load`: the record that was there
            // before is visibly gone.
            self.hash.store(hash, Ordering::Release);
        }
    }

    fn publish(&self, tagged: Tagged) {
        // Release pairs with the Acquire loads of `record` in `load` and `Array::find`: the words
        // of the record and the cell's hash are visible with it.
        self.record.store(tagged.as_ptr().as_ptr(), Ordering::Release);
    }

    fn clear(&self) {
        self.record.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Makes a cell one that was never used.
    fn forget(&self) {
        // Release pairs with the Acquire of the hash in `load`: the record's absence is visible.
        self.hash.store(0, Ordering::Release);
    }
}

/// What precedes the cells of an array in memory.
#[repr(C, align(16))]
pub(crate) struct Header {
    /// Homes: keys start at cells below this number.
    main: u32,
    /// All cells, the spare ones and the last one counted.
    total: u32,
    /// Bytes of all records, kept by the lock's holder.
    record_bytes: Counter,
}

/// A pointer to a [`Header`] with the cells behind it; null for a slot without any. The lowest
/// four bits tell the number of homes, so that finding a key's cell costs no look at the header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Array(*mut Header);

/// The number of homes that an array's tag stands for. Larger arrays have the tag behind the last
/// one, and the number in the header.
const TAGGED: [u32; 15] = [4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024];
const IN_HEADER: usize = TAGGED.len();
const TAG_BITS: usize = 0xF;

/// The smallest array.
pub(crate) const MIN_HOMES: u32 = TAGGED[0];

/// A cell for a key that is not in the array.
pub(crate) struct Vacancy<'a> {
    cell: &'a Cell,
    /// Whether the cell was never used, and so counts as used from now on.
    pub(crate) fresh: bool,
}

impl Array {
    pub(crate) const NONE: Array = Array(ptr::null_mut());

    pub(crate) fn from_ptr(tagged: *mut Header) -> Self {
        Array(tagged)
    }

    pub(crate) fn as_ptr(self) -> *mut Header {
        self.0
    }

    pub(crate) fn is_none(self) -> bool {
        self.0.is_null()
    }

    /// An array without objects.
    pub(crate) fn allocate(homes: u32, spare: u32) -> Self {
        let total = homes + spare + 1;
        let layout = layout(total);
        // SAFETY: the layout has the header and at least one cell.
        let start = unsafe { alloc(layout) }.cast::<Header>();
        if start.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: `start` has room for the header and `total` cells, and nobody else knows of it.
        unsafe {
            start.write(Header { main: homes, total, record_bytes: Counter::new(0) });
            let cells = start.add(1).cast::<Cell>();
            for index in 0..total as usize {
                cells.add(index).write(Cell::new());
            }
        }
        let tag = TAGGED.iter().position(|&tagged| tagged == homes).unwrap_or(IN_HEADER);
        Array(start.wrapping_byte_add(tag))
    }

    /// Gives the memory of the array back, and that of its records where `records` says so.
    ///
    /// # Safety
    /// The array came from [`Array::allocate`]; nobody uses it any more, nor its records where
    /// they go too.
    pub(crate) unsafe fn free(self, records: bool) {
        if records {
            for cell in self.cells() {
                if let Some(tagged) = cell.tagged() {
                    // SAFETY: the caller vouches for the records, and each is in one cell only.
                    unsafe { tagged.free() };
                }
            }
        }
        let layout = layout(self.header().total);
        // SAFETY: this is the pointer that `allocate` got for this layout.
        unsafe { dealloc(self.start().cast(), layout) };
    }

    #[inline]
    fn tag(self) -> usize {
        self.0.addr() & TAG_BITS
    }

    #[inline]
    fn start(self) -> *mut Header {
        self.0.wrapping_byte_sub(self.tag())
    }

    /// Must not be called on [`Array::NONE`], as all methods from here on.
    #[inline]
    fn header<'a>(self) -> &'a Header {
        debug_assert!(!self.is_none());
        // SAFETY: an array that is not none points to a header, which lives until `free`; whoever
        // holds an array holds the slot's lock, or is pinned, or owns the array.
        unsafe { &*self.start() }
    }

    /// First cell.
    #[inline]
    fn first(self) -> *const Cell {
        self.start().wrapping_add(1).cast()
    }

    #[inline]
    fn cells<'a>(self) -> &'a [Cell] {
        // SAFETY: `total` cells follow the header; their life is that of `header`.
        unsafe { std::slice::from_raw_parts(self.first(), self.header().total as usize) }
    }

    /// Number of homes.
    #[inline]
    pub(crate) fn homes(self) -> u32 {
        match TAGGED.get(self.tag()) {
            Some(&homes) => homes,
            None => self.header().main,
        }
    }

    /// Cells behind the homes that keys may use.
    pub(crate) fn spare(self) -> u32 {
        let header = self.header();
        header.total - header.main - 1
    }

    /// Bytes that the array takes, without its records.
    pub(crate) fn bytes(self) -> u64 {
        blocks::footprint(layout(self.header().total).size())
    }

    /// Bytes that its records take.
    pub(crate) fn record_bytes(self) -> u64 {
        self.header().record_bytes.load(Ordering::Relaxed)
    }

    /// Counts record bytes in and out. The caller holds the slot's lock or owns the array.
    pub(crate) fn count_bytes(self, added: u64, removed: u64) {
        let counter = &self.header().record_bytes;
        let bytes = counter.load(Ordering::Relaxed);
        counter.store(bytes.wrapping_add(added).wrapping_sub(removed), Ordering::Relaxed);
    }

    /// Index of the home of a hash. Monotonic in the hash, for the hashes of one slot.
    #[inline]
    fn home(self, hash: u64) -> usize {
        let below_slot = (hash << 12) >> 32;
        ((below_slot * u64::from(self.homes())) >> 32) as usize
    }

    /// The cell of a key and what it has, without a lock.
    #[inline]
    pub(crate) fn find<'a>(self, key: &Key<'_>, schema: Schema) -> Option<(&'a Cell, Entry<'a>)> {
        let mut at = self.first().wrapping_add(self.home(key.hash));
        loop {
            // SAFETY: a home is a cell, and the last cell's hash stays 0, which ends this loop.
            let cell = unsafe { &*at };
            // Relaxed: whoever has to see a key, because its insertion happened before, sees no
            // unused cell before it either, and a hash without its record is passed by.
            let hash = cell.hash.load(Ordering::Relaxed);
            if hash == key.hash {
                // Acquire pairs with `publish`.
                if let Some(record) = NonNull::new(cell.record.load(Ordering::Acquire)) {
                    // SAFETY: the record was in a cell after the caller was pinned or locked the
                    // slot, so it stays allocated as long as the array does for the caller.
                    let entry = unsafe { Entry::new(Tagged::from_ptr(record)) };
                    // The cell may meanwhile belong to another hash: the words decide.
                    if entry.first().has_key(key.words, schema) {
                        return Some((cell, entry));
                    }
                }
            } else if hash == 0 {
                return None;
            }
            at = at.wrapping_add(1);
        }
    }

    /// Where a key that is absent goes, or `None` where the run reaches the end of the array.
    /// The caller holds the slot's lock or owns the array.
    pub(crate) fn vacancy<'a>(self, hash: u64) -> Option<Vacancy<'a>> {
        let cells = self.cells();
        let (last, usable) = cells.split_last().expect("an array has at least one cell");
        debug_assert_eq!(last.hash.load(Ordering::Relaxed), 0);
        usable[self.home(hash)..].iter().find_map(|cell| {
            let fresh = cell.hash.load(Ordering::Relaxed) == 0;
            (fresh || cell.record.load(Ordering::Relaxed).is_null())
                .then_some(Vacancy { cell, fresh })
        })
    }

    /// Whether `used` cells, one more than now, are as many as an array with these homes takes.
    pub(crate) fn is_full_with(self, used: u32) -> bool {
        u64::from(used) * 4 > u64::from(self.homes()) * 3
    }

    /// Takes the record out of a cell of this array. Answers how many cells went back to "never
    /// used": the end of a run does. The caller holds the slot's lock.
    pub(crate) fn vacate(self, cell: &Cell) -> u32 {
        cell.clear();
        let cells = self.cells();
        let index = (ptr::from_ref(cell).addr() - self.first().addr()) / size_of::<Cell>();
        if cells[index + 1].hash.load(Ordering::Relaxed) != 0 {
            return 0;
        }
        let empty = |cell: &&Cell| {
            cell.record.load(Ordering::Relaxed).is_null() && cell.hash.load(Ordering::Relaxed) != 0
        };
        let mut forgotten = 0;
        for cell in cells[..=index].iter().rev().take_while(empty) {
            cell.forget();
            forgotten += 1;
        }
        forgotten
    }

    /// Everything that is in the array. The caller holds the slot's lock, or has unlinked the array
    /// and not retired it yet.
    pub(crate) fn entries<'a>(self) -> impl Iterator<Item = Entry<'a>> {
        // SAFETY: the records stay allocated as long as the array does for the caller.
        self.cells().iter().filter_map(Cell::tagged).map(|tagged| unsafe { Entry::new(tagged) })
    }

    /// A larger or smaller array with the same records. The caller holds the slot's lock; this
    /// array stays as it is, for readers that are in it.
    pub(crate) fn rebuilt(self, homes: u32, mut spare: u32) -> Array {
        'attempt: loop {
            let new = Array::allocate(homes, spare);
            for cell in self.cells() {
                let Some(tagged) = cell.tagged() else { continue };
                let hash = cell.hash.load(Ordering::Relaxed);
                let Some(vacancy) = new.vacancy(hash) else {
                    // SAFETY: the new array is nobody else's yet; the records stay in the old one.
                    unsafe { new.free(false) };
                    spare *= 2;
                    continue 'attempt;
                };
                vacancy.fill(hash, tagged);
            }
            new.count_bytes(self.record_bytes(), 0);
            return new;
        }
    }

    /// Shows what has the smallest hash from `from` on, without a lock, and with it everything
    /// else from `from` on up to the end of its run, in no order. Shows nothing where no
    /// hash of the array is that large. Every entry that it does not show, and that is present
    /// from beginning to end, has a larger hash than those that it does.
    ///
    /// Answers the number of cells it looked at.
    pub(crate) fn run_from<'a>(self, from: u64, mut visit: impl FnMut(u64, Entry<'a>)) -> usize {
        let cells = &self.cells()[self.home(from)..];
        let mut found = false;
        for (looked_at, cell) in cells.iter().enumerate() {
            match cell.load() {
                Some((hash, tagged)) if hash >= from => {
                    found = true;
                    // SAFETY: as in `find`.
                    visit(hash, unsafe { Entry::new(tagged) });
                }
                Some(_) => {}
                // Keys behind a cell that was never used have their homes behind it, and so have
                // larger hashes than everything found before it. Relaxed as in `find`.
                None if found && cell.hash.load(Ordering::Relaxed) == 0 => return looked_at + 1,
                None => {}
            }
        }
        cells.len()
    }
}

impl Vacancy<'_> {
    /// Puts an entry into the cell. The caller holds the slot's lock or owns the array.
    pub(crate) fn fill(self, hash: u64, tagged: Tagged) {
        self.cell.claim(hash);
        self.cell.publish(tagged);
    }
}

impl Cell {
    /// Puts another entry of the same key into a cell. The caller holds the slot's lock.
    pub(crate) fn replace(&self, tagged: Tagged) {
        self.publish(tagged);
    }
}

/// Homes for this many records: at most six tenths full, so that a rebuild that was forced at
/// three quarters makes room for a while.
pub(crate) fn homes_for(records: u32) -> u32 {
    let mut homes = MIN_HOMES;
    while u64::from(records) * 10 > u64::from(homes) * 6 {
        homes = match homes {
            4 => 8,
            8 => 16,
            power if power.is_power_of_two() => power / 2 * 3,
            three_halves => three_halves / 3 * 4,
        };
    }
    homes
}

/// Spare cells for this many homes, where the hashes are no worse than random.
pub(crate) fn spare_for(homes: u32) -> u32 {
    (homes / 4).clamp(2, 16)
}

fn layout(total: u32) -> Layout {
    let cells = Layout::array::<Cell>(total as usize).expect("an array fits the address space");
    let (layout, _) = Layout::new::<Header>().extend(cells).expect("as above");
    layout
}
