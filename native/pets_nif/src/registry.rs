//! From a table's name to the table, in a few nanoseconds however many tables there are.
//!
//! An atom's index is a small number, so the registry is an array over atom indices, in chunks
//! that come into being when an index in them is first used and then stay.
//!
//! A reader pins the epoch, loads the pointer and may use the table until it unpins. Who takes a
//! table out waits until no reader that was pinned then is pinned any more.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use parking_lot::Mutex;
use pets_core::epoch::{self, Guard};
use pets_core::term::word;

use crate::Table;
use crate::raw::Term;

const CHUNK_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;
/// Tables may be named by the first 2^24 atoms of a VM, 16 times the VM's own default limit.
const CHUNKS: usize = 1 << 12;

type Chunk = [AtomicPtr<Table>; CHUNK];

/// Null until the first table of the chunk is registered; never replaced afterwards.
static DIRECTORY: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];
/// Names in use, and the lock that all changes are made under.
static NAMES: Mutex<Vec<Term>> = Mutex::new(Vec::new());

/// The table of this name, for as long as the guard lives.
#[inline]
pub(crate) fn find(name: Term, _guard: &Guard) -> Option<&Table> {
    if !word::is_atom(name.0) {
        return None;
    }
    let cell = cell(word::atom_index(name.0) as usize)?;
    // Acquire pairs with the Release in `insert`: who sees the pointer sees the table behind it.
    let table = cell.load(Ordering::Acquire);
    // SAFETY: the pointer came from `Arc::into_raw`, and `remove` takes the reference that it
    // stands for only when all guards of that time are gone.
    unsafe { table.as_ref() }
}

#[inline]
fn cell(index: usize) -> Option<&'static AtomicPtr<Table>> {
    // Acquire pairs with the Release in `cell_or_new`: the chunk's null pointers are visible.
    let chunk = DIRECTORY.get(index >> CHUNK_BITS)?.load(Ordering::Acquire);
    // SAFETY: chunks are leaked boxes.
    unsafe { chunk.as_ref() }.map(|chunk| &chunk[index & (CHUNK - 1)])
}

/// The table of this name, to keep.
pub(crate) fn get(name: Term) -> Option<Arc<Table>> {
    let guard = epoch::pin();
    find(name, &guard).map(|table| {
        let table: *const Table = table;
        // SAFETY: the registry's own reference keeps the count above zero while we are pinned.
        unsafe {
            Arc::increment_strong_count(table);
            Arc::from_raw(table)
        }
    })
}

/// Why a table was not registered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotRegistered {
    /// There is a table of this name.
    Exists,
    /// The name is no atom, or one of too high an index.
    Name,
}

/// Registers a table.
///
/// # Errors
/// [`NotRegistered`]; nothing has changed then.
pub(crate) fn insert(name: Term, table: Arc<Table>) -> Result<(), NotRegistered> {
    let mut names = NAMES.lock();
    if names.contains(&name) {
        return Err(NotRegistered::Exists);
    }
    if !word::is_atom(name.0) {
        return Err(NotRegistered::Name);
    }
    let cell = cell_or_new(word::atom_index(name.0) as usize).ok_or(NotRegistered::Name)?;
    names.push(name);
    // Release pairs with the Acquire in `find`.
    cell.store(Arc::into_raw(table).cast_mut(), Ordering::Release);
    Ok(())
}

/// The cell of an index, whose chunk is made if need be. The caller holds the lock on `NAMES`.
fn cell_or_new(index: usize) -> Option<&'static AtomicPtr<Table>> {
    let entry = DIRECTORY.get(index >> CHUNK_BITS)?;
    if entry.load(Ordering::Relaxed).is_null() {
        let chunk = Box::new([const { AtomicPtr::new(ptr::null_mut()) }; CHUNK]);
        // Release pairs with the Acquire in `cell`.
        entry.store(Box::into_raw(chunk), Ordering::Release);
    }
    cell(index)
}

/// Takes a table out and returns it, when no reader is in it any more: only for threads that may
/// wait, and that are not pinned.
pub(crate) fn remove(name: Term) -> Option<Arc<Table>> {
    let table = {
        let mut names = NAMES.lock();
        let position = names.iter().position(|&taken| taken == name)?;
        names.swap_remove(position);
        let cell = cell(word::atom_index(name.0) as usize)?;
        cell.swap(ptr::null_mut(), Ordering::AcqRel)
    };
    epoch::synchronize();
    // SAFETY: the pointer came from `Arc::into_raw` in `insert`, `swap` gave it to us alone, and
    // everybody who had loaded it has been unpinned since.
    Some(unsafe { Arc::from_raw(table) })
}

/// The names of all tables.
pub(crate) fn names() -> Vec<Term> {
    NAMES.lock().clone()
}
