//! When memory that readers may still look at goes back.
//!
//! Readers are pinned while they hold anything of a table; what is taken out of a table is freed
//! when everybody who was pinned at that time is no longer (see [`crate::epoch`]).

use std::ptr::NonNull;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use super::cells::Array;
use super::record::{Block, Record};
use crate::epoch;

/// Freeing more objects than this at once could take a scheduler longer than it has: a thread of
/// its own does it.
const BACKGROUND_FROM_OBJECTS: usize = 4096;

/// Takes what was unlinked from a slot: nobody finds it any more, but some may have found it.
pub(crate) trait Reclaim {
    /// # Safety
    /// The record was unlinked before, by the caller, who retires it once.
    unsafe fn retire_record(&self, record: NonNull<Block>);

    /// Takes an array, but not its records.
    ///
    /// # Safety
    /// As for a record.
    unsafe fn retire_array(&self, array: Array);

    /// Takes anything else of this many bytes, which `free` frees.
    ///
    /// # Safety
    /// As for a record; `free` may be called with it by any thread.
    unsafe fn retire(&self, retired: *mut (), free: unsafe fn(*mut ()), bytes: usize);
}

/// Frees what it gets when the epoch has passed.
pub(crate) struct Epochs;

impl Reclaim for Epochs {
    unsafe fn retire_record(&self, record: NonNull<Block>) {
        unsafe fn free(record: *mut ()) {
            // SAFETY: `retire_record` retired it, which is not null, and the epoch has passed.
            unsafe { Block::free(NonNull::new_unchecked(record.cast())) };
        }
        // SAFETY: not freed yet: the caller retires it once.
        let bytes = unsafe { Record::new(record) }.bytes();
        // SAFETY: the record is unlinked, so that nobody who is pinned from now on can reach it;
        // `free` is called once, and may be on any thread.
        unsafe { epoch::pin().retire(record.as_ptr().cast(), free, bytes as usize) };
    }

    unsafe fn retire_array(&self, array: Array) {
        unsafe fn free(array: *mut ()) {
            // SAFETY: `retire_array` retired it, and the epoch has passed.
            unsafe { Array::from_ptr(array.cast()).free(false) };
        }
        let bytes = array.bytes() as usize;
        // SAFETY: as for a record.
        unsafe { epoch::pin().retire(array.as_ptr().cast(), free, bytes) };
    }

    unsafe fn retire(&self, retired: *mut (), free: unsafe fn(*mut ()), bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { epoch::pin().retire(retired, free, bytes) };
    }
}

/// Arrays that were unlinked from their slots together with all their records.
pub(crate) struct Detached {
    arrays: Vec<Array>,
    objects: usize,
}

// SAFETY: arrays and records are plain heap memory, which any thread may free.
unsafe impl Send for Detached {}

impl Detached {
    /// `objects` is how many records the arrays have.
    ///
    /// # Safety
    /// The caller unlinked the arrays, whose records are in no other array that is linked.
    pub(crate) unsafe fn new(arrays: Vec<Array>, objects: usize) -> Self {
        Detached { arrays, objects }
    }

    /// Frees everything when the epoch has passed: much of it on a thread of its own, which waits
    /// for that, so that the memory goes back even if nothing else is retired any more.
    pub(crate) fn retire(self) {
        if self.arrays.is_empty() {
            return;
        }
        if self.objects <= BACKGROUND_FROM_OBJECTS {
            return self.retire_here();
        }
        // This thread may be pinned, and cannot wait: without another one it retires as usual.
        let free = |detached: Detached| {
            epoch::synchronize();
            detached.free_here();
        };
        if let Err(detached) = in_background(self, free) {
            detached.retire_here();
        }
    }

    fn retire_here(self) {
        unsafe fn free(detached: *mut ()) {
            // SAFETY: `retire_here` made the pointer of a box, and the epoch has passed.
            unsafe { Box::from_raw(detached.cast::<Detached>()) }.free_here();
        }
        let bytes = self.arrays.iter().map(|array| array.bytes() + array.record_bytes());
        let bytes = bytes.sum::<u64>() as usize;
        let detached = Box::into_raw(Box::new(self));
        // SAFETY: the arrays are unlinked (`new`), so that nobody who is pinned from now on can
        // reach them; they are `Send`, and freed once.
        unsafe { epoch::pin().retire(detached.cast(), free, bytes) };
    }

    fn free_here(self) {
        for array in self.arrays {
            // SAFETY: the epoch has passed, and the records were only in these arrays.
            unsafe { array.free(true) };
        }
    }
}

/// Runs `work` with a value on a thread of its own; gives the value back where no thread can be had.
pub(crate) fn in_background<T: Send + 'static>(value: T, work: fn(T)) -> Result<(), T> {
    // Held by both threads, because a thread that could not be started keeps what it was given.
    let value = Arc::new(Mutex::new(Some(value)));
    let theirs = Arc::clone(&value);
    let run = move || {
        let value = theirs.lock().take();
        if let Some(value) = value {
            work(value);
        }
    };
    match thread::Builder::new().name("pets_reclaim".into()).spawn(run) {
        Ok(_) => Ok(()),
        Err(_) => value.lock().take().map_or(Ok(()), Err),
    }
}
