//! What a cell has for a key: the record of its object or, in a bag, a group of records.
//!
//! A group is a list of pointers that only grows. Readers take no lock; the protocol is:
//! * the holder of the slot's lock stores a pointer behind the last one, and then the new length;
//!   a reader loads the length once, when it begins to look at the records, and looks at no pointer
//!   beyond it. What it sees is what the key had at that moment, in order and whole;
//! * whatever else happens to a key (an object goes, the list is full) puts another entry into the
//!   cell. The old one keeps its state until its readers have left, as records do.
//!
//! So the objects of a key change as one step for readers, an object is added in constant time
//! however many its key has, and one that is removed costs a copy of the list.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::blocks;
use super::reclaim::Reclaim;
use super::record::{Block, Record};
use super::sync::{AtomicPtr, AtomicU32, Ordering};

/// Set in a pointer to a [`Group`] where a pointer to a [`Block`] may be, too.
const GROUP: usize = 1;
/// Places in the first group of a key.
const FIRST_CAPACITY: u32 = 4;

/// The records of one key, with pointers to them behind it in memory.
#[repr(C)]
struct Group {
    /// How many pointers are there. Stored by the lock's holder after the pointers, read by anybody.
    len: AtomicU32,
    capacity: u32,
}

/// A pointer as cells keep it: to a block, or tagged to a group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tagged(NonNull<Block>);

/// The objects of a key, at least one. Good for as long as a [`Record`].
#[derive(Clone, Copy)]
pub struct Entry<'g> {
    tagged: Tagged,
    life: PhantomData<&'g Group>,
}

// SAFETY: as a record, it is a shared reference to atomic memory that stays allocated for `'g`.
unsafe impl Send for Entry<'_> {}
// SAFETY: as above.
unsafe impl Sync for Entry<'_> {}

impl Tagged {
    pub(crate) fn record(block: NonNull<Block>) -> Self {
        Tagged(block)
    }

    fn group(group: NonNull<Group>) -> Self {
        Tagged(group.cast::<Block>().map_addr(|address| address | GROUP))
    }

    pub(crate) fn from_ptr(pointer: NonNull<Block>) -> Self {
        Tagged(pointer)
    }

    pub(crate) fn as_ptr(self) -> NonNull<Block> {
        self.0
    }

    #[inline]
    fn as_group(self) -> Option<NonNull<Group>> {
        let is_group = self.0.addr().get() & GROUP != 0;
        // SAFETY: the address without the tag is that of a group, which is not null.
        let group = |address: usize| unsafe { std::num::NonZero::new_unchecked(address & !GROUP) };
        is_group.then(|| self.0.map_addr(|address| group(address.get())).cast())
    }

    /// Frees the records and the group around them.
    ///
    /// # Safety
    /// Nobody else reads them now or later, and each is freed once.
    pub(crate) unsafe fn free(self) {
        match self.as_group() {
            // SAFETY: the caller owns the record.
            None => unsafe { Block::free(self.0) },
            Some(group) => {
                // SAFETY: the caller owns the group, which is still allocated, with its records.
                unsafe {
                    for index in 0..Group::len(group) {
                        Block::free(Group::record(group, index));
                    }
                    Group::free(group);
                }
            }
        }
    }
}

impl Group {
    fn layout(capacity: u32) -> Layout {
        let pointers = Layout::array::<AtomicPtr<Block>>(capacity as usize);
        let pointers = pointers.expect("as many pointers as there are records fit the memory");
        Layout::new::<Group>().extend(pointers).expect("as above").0
    }

    fn allocate(capacity: u32) -> NonNull<Group> {
        let layout = Group::layout(capacity);
        // SAFETY: the layout has at least the group itself.
        let start = NonNull::new(unsafe { alloc(layout) }.cast::<Group>());
        let group = start.unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: there is room for the group and `capacity` pointers, and nobody knows of it.
        unsafe {
            group.write(Group { len: AtomicU32::new(0), capacity });
            for index in 0..capacity {
                Group::place(group, index).write(AtomicPtr::new(std::ptr::null_mut()));
            }
        }
        group
    }

    /// # Safety
    /// The group came from `allocate`, and nobody uses it any more.
    unsafe fn free(group: NonNull<Group>) {
        // SAFETY: the caller's promise.
        let layout = Group::layout(unsafe { group.as_ref() }.capacity);
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(group.as_ptr().cast(), layout) };
    }

    /// Where a pointer is.
    ///
    /// # Safety
    /// The group is allocated, and has more places than `index`.
    unsafe fn place(group: NonNull<Group>, index: u32) -> NonNull<AtomicPtr<Block>> {
        // SAFETY: pointers follow the group, which has their alignment (`layout` adds no padding
        // to 8 bytes).
        unsafe { group.add(1).cast::<AtomicPtr<Block>>().add(index as usize) }
    }

    /// # Safety
    /// The group is allocated.
    #[inline]
    unsafe fn len(group: NonNull<Group>) -> u32 {
        // SAFETY: the caller's promise. Acquire pairs with the Release in `push`: the pointers
        // below the length, and the records behind them, are visible.
        unsafe { group.as_ref() }.len.load(Ordering::Acquire)
    }

    /// # Safety
    /// The group is allocated, and `index` is below a length that it had.
    #[inline]
    unsafe fn record(group: NonNull<Group>, index: u32) -> NonNull<Block> {
        // SAFETY: the caller's promise.
        let pointer = unsafe { Group::place(group, index).as_ref() }.load(Ordering::Relaxed);
        NonNull::new(pointer).expect("a pointer is stored before the length that counts it")
    }

    /// Adds a record, if there is room.
    ///
    /// # Safety
    /// The group is allocated; the caller holds the slot's lock, or owns the group.
    unsafe fn push(group: NonNull<Group>, record: NonNull<Block>) -> bool {
        // SAFETY: the caller's promise.
        let this = unsafe { group.as_ref() };
        let len = this.len.load(Ordering::Relaxed);
        if len == this.capacity {
            return false;
        }
        // SAFETY: `len` is below the capacity.
        unsafe { Group::place(group, len).as_ref() }.store(record.as_ptr(), Ordering::Relaxed);
        // Release pairs with the Acquire in `len`.
        this.len.store(len + 1, Ordering::Release);
        true
    }

    /// A group of these records, with room for more.
    fn of(records: impl ExactSizeIterator<Item = NonNull<Block>>, capacity: u32) -> NonNull<Group> {
        let group = Group::allocate(capacity.max(records.len() as u32));
        for record in records {
            // SAFETY: nobody else knows of the group, which has room for all.
            unsafe { Group::push(group, record) };
        }
        group
    }
}

/// What [`Entry::with`] made of an entry.
pub(crate) enum Added {
    /// The object is in the entry itself, which stays where it is.
    InPlace,
    /// This one takes its place; the old group, if it was one, is to be retired.
    Replaced(Tagged),
}

impl<'g> Entry<'g> {
    /// # Safety
    /// What the pointer points to, and the records behind that, stay allocated for `'g`.
    #[inline]
    pub(crate) unsafe fn new(tagged: Tagged) -> Self {
        Entry { tagged, life: PhantomData }
    }

    #[cfg(all(test, loom))]
    pub(crate) fn group_address(self) -> Option<usize> {
        self.tagged.as_group().map(|group| group.addr().get())
    }

    /// Whether there are several objects.
    #[inline]
    pub fn has_several(self) -> bool {
        self.tagged.as_group().is_some()
    }

    /// The first object; the only one in a table that is no bag.
    #[inline]
    pub fn first(self) -> Record<'g> {
        let block = match self.tagged.as_group() {
            None => self.tagged.0,
            // SAFETY: a group has had two records at least since it was made.
            Some(group) => unsafe { Group::record(group, 0) },
        };
        // SAFETY: the record lives as long as the entry (`new`).
        unsafe { Record::new(block) }
    }

    /// The objects in their order, as they are at this moment.
    #[inline]
    pub fn records(self) -> impl ExactSizeIterator<Item = Record<'g>> + Clone + use<'g> {
        let group = self.tagged.as_group();
        // SAFETY: the entry is allocated.
        let len = group.map_or(1, |group| unsafe { Group::len(group) });
        (0..len as usize).map(move |index| {
            // SAFETY: `index` is below a length that the group had.
            let record = |group| unsafe { Group::record(group, index as u32) };
            // SAFETY: the record lives as long as the entry (`new`).
            unsafe { Record::new(group.map_or(self.tagged.0, record)) }
        })
    }

    /// Bytes that the objects take, and the group if there is one.
    #[inline]
    pub(crate) fn bytes(self) -> u64 {
        match self.tagged.as_group() {
            None => self.first().bytes(),
            Some(group) => {
                // SAFETY: the entry is allocated.
                let layout = Group::layout(unsafe { group.as_ref() }.capacity);
                blocks::footprint(layout.size()) + self.records().map(Record::bytes).sum::<u64>()
            }
        }
    }

    /// Adds a record behind the others. The caller holds the slot's lock.
    pub(crate) fn with(self, record: NonNull<Block>) -> Added {
        let capacity = match self.tagged.as_group() {
            None => FIRST_CAPACITY,
            // SAFETY: the entry is allocated, and the caller holds the lock.
            Some(group) if unsafe { Group::push(group, record) } => return Added::InPlace,
            // SAFETY: the entry is allocated.
            Some(group) => unsafe { group.as_ref() }.capacity.saturating_mul(2),
        };
        let group = Group::of(self.records().map(Record::block), capacity);
        // SAFETY: nobody else knows of the group, which has twice the room.
        let pushed = unsafe { Group::push(group, record) };
        assert!(pushed, "a bag cannot have more objects for one key");
        Added::Replaced(Tagged::group(group))
    }

    /// An entry of these records, which are some of this one's; `None` of none.
    pub(crate) fn only(records: &[Record<'g>]) -> Option<Tagged> {
        match records {
            [] => None,
            [record] => Some(Tagged::record(record.block())),
            records => {
                let blocks = records.iter().map(|record| record.block());
                Some(Tagged::group(Group::of(blocks, records.len() as u32)))
            }
        }
    }

    /// Retires the group around the records, if there is one, but not the records.
    ///
    /// # Safety
    /// The entry was taken out of its cell by the caller, who retires it once.
    pub(crate) unsafe fn retire_group(self, reclaim: &impl Reclaim) {
        if let Some(group) = self.tagged.as_group() {
            unsafe fn free(group: *mut ()) {
                // SAFETY: it was retired by `retire_group`, not null, and its readers have left.
                unsafe { Group::free(NonNull::new_unchecked(group.cast())) };
            }
            // SAFETY: allocated until it is freed.
            let bytes = Group::layout(unsafe { group.as_ref() }.capacity).size();
            // SAFETY: nobody finds it any more (the caller's promise); freed once, by any thread.
            unsafe { reclaim.retire(group.as_ptr().cast(), free, bytes) };
        }
    }

    /// Retires everything.
    ///
    /// # Safety
    /// As [`Entry::retire_group`].
    #[inline]
    pub(crate) unsafe fn retire(self, reclaim: &impl Reclaim) {
        if self.tagged.as_group().is_none() {
            // SAFETY: the caller's promise.
            return unsafe { reclaim.retire_record(self.tagged.0) };
        }
        for record in self.records() {
            // SAFETY: the caller's promise; a record is in one entry only.
            unsafe { reclaim.retire_record(record.block()) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.retire_group(reclaim) };
    }
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.records()).finish()
    }
}
