//! An ordered index of keys: which keys are there, in Erlang's term order, for tables of type
//! `ordered_set`.
//!
//! The objects of such a table lie in its slots, by hash, as those of any table. The index only
//! knows the keys, and is a hint that says too much at times, never too little: a writer inserts a
//! key before its object becomes visible, and removes it when the object is gone. A traversal takes
//! key after key from here, and passes over those that have no object. Keys are the same when they
//! are `==`: of 1 and 1.0 the index keeps the words that came first.
//!
//! ```
//! use pets_core::table::key_index::KeyIndex;
//! use pets_core::term::word::small;
//!
//! let index = KeyIndex::new();
//! for key in [5, 1, 3] {
//!     assert!(index.insert(&[small(key)]));
//! }
//! let guard = pets_core::epoch::pin();
//! let next = index.after(&[small(1)], &guard).expect("there are greater ones");
//! assert_eq!(next.words(), [small(3)]);
//! ```
//!
//! # The tree
//!
//! A B+ tree. Its leaves hold up to 64 keys, each as 64 bits of its place in the order (`prefix`,
//! `run`), which decide nearly every comparison, and the key itself: an immediate, or the address of
//! a block. A leaf never changes. A writer makes a new one, puts it into the place of the old one by
//! one store, and retires the old one. Inner nodes do not change either, but for which child is at a
//! place; where children come or go the node is replaced as a leaf is.
//!
//! # Why readers find what is there
//!
//! A reader is pinned and follows pointers from the root. It may meet nodes that have been replaced
//! meanwhile; it never meets one that was freed.
//!
//! 1. *Each node that a reader comes to was in the tree at some time since it began.* The root was.
//!    Let a node have been in the tree at a time `t`. What its place for a child holds later is the
//!    child that the tree has there, as long as the node is in the tree; when it is taken out, under
//!    its lock, its places keep what they had. So the child was in the tree at `t` or later.
//! 2. *Hence a key that is present throughout is found*: the leaf for its range has it at any time.
//!    The ranges of a node's children do not change, since separators never do.
//! 3. *The range of a node only grows*, as long as the node is in the tree. When a child is taken out
//!    its neighbour gets its range; where a range is split there are new nodes. A reader that goes on
//!    to a neighbour may thus find keys there that it has passed; it leaves them out (`cursor`), so
//!    that none is met twice.
//!
//! # Why writers do not get into each other's way
//!
//! The holder of a node's lock, if the node is not obsolete, is the only one who changes what is at
//! its places, or replaces it: both need the lock. It is the right node for the key, because it was
//! when the writer came to it (1.), and its range has not become smaller since (3.).
//! Locks are taken from below upwards, and a writer that waits for one holds only locks below, so
//! that there is no circle. A lock is held for the copying of a leaf (about 100 ns), and for some
//! microseconds where a node is replaced.
//!
//! # What order it is
//!
//! That of `term::order::cmp`. It compares identifiers of this node and of others by the names of
//! the nodes; where this node gets another name, the keys of an index that has both may be in an
//! order that is none any more. Then keys may not be found; nothing worse happens. The prefixes do
//! not depend on names.

mod cursor;
mod inner;
mod key;
mod leaf;
mod memory;
#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod model;
mod path;
mod prefix;
mod reclaim;
mod run;
#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
mod tree;
mod write;

use std::ops::Bound;
use std::ptr::{self, NonNull};

use super::lock::Lock;
use super::sync::{AtomicPtr, Ordering};
use crate::epoch::{self, Guard};
use cursor::{Direction, Start};
use inner::Inner;
use key::Probe;
use reclaim::Epochs;
use tree::Tree;

pub use cursor::Cursor;
pub use key::KeyRef;

/// An ordered set of keys. See the [module](self).
///
/// Calls of [`insert`](Self::insert) and [`remove`](Self::remove) for one key must not overlap, as
/// they do not under the lock of the key's slot; those for different keys may.
pub struct KeyIndex {
    /// Null while there are no keys. Stored under `lock`.
    root: AtomicPtr<inner::Header>,
    lock: Lock,
}

// SAFETY: all that is shared and changes is atomic; nodes and keys are plain memory that any thread
// may read, retire and free.
unsafe impl Send for KeyIndex {}
// SAFETY: as above.
unsafe impl Sync for KeyIndex {}

impl KeyIndex {
    /// An empty index. Takes no memory before the first key.
    pub fn new() -> Self {
        KeyIndex { root: AtomicPtr::new(ptr::null_mut()), lock: Lock::new() }
    }

    /// Inserts a key; says whether it was absent. A key that is there already stays as it is.
    pub fn insert(&self, key: &[u64]) -> bool {
        let guard = epoch::pin();
        // SAFETY: the guard is held, and what is retired waits for the epoch.
        unsafe { self.insert_with(&Probe::new(key), &Epochs(&guard)) }
    }

    /// Removes a key; says whether it was present.
    pub fn remove(&self, key: &[u64]) -> bool {
        let guard = epoch::pin();
        // SAFETY: as in `insert`.
        unsafe { self.remove_with(&Probe::new(key), &Epochs(&guard)) }
    }

    /// Removes all keys that `condemned` says yes to; answers how many. Cheaper by far than one by
    /// one where they are many.
    ///
    /// What is said of [`remove`](Self::remove) is true for each of these keys. `condemned` is
    /// called with a lock held, and possibly more than once for a key; it must not use the index.
    pub fn remove_where(&self, condemned: impl FnMut(&[u64]) -> bool) -> usize {
        let guard = epoch::pin();
        // SAFETY: as in `insert`.
        unsafe { self.remove_where_with(condemned, &Epochs(&guard)) }
    }

    /// Removes all keys at once, by one store.
    ///
    /// # Safety
    /// Nobody inserts or removes keys meanwhile. Reading is fine.
    pub unsafe fn clear(&self) {
        let root = {
            let _held = self.lock.lock();
            // Relaxed: the root is stored under this lock only.
            let root = self.root.load(Ordering::Relaxed);
            self.set_root(ptr::null_mut());
            root
        };
        if let Some(root) = NonNull::new(root) {
            // SAFETY: the tree is out of the index, and no writer is in it.
            unsafe { reclaim::retire_tree(Tree::new(root)) };
        }
    }

    /// The least key.
    pub fn first<'g>(&'g self, guard: &'g Guard) -> Option<KeyRef<'g>> {
        self.ascending(Bound::Unbounded, guard).next()
    }

    /// The greatest key.
    pub fn last<'g>(&'g self, guard: &'g Guard) -> Option<KeyRef<'g>> {
        self.descending(Bound::Unbounded, guard).next()
    }

    /// The least key that is greater than `key`, which need not be there itself.
    #[inline]
    pub fn after<'g>(&'g self, key: &[u64], guard: &'g Guard) -> Option<KeyRef<'g>> {
        self.ascending(Bound::Excluded(key), guard).next()
    }

    /// The greatest key that is less than `key`, which need not be there itself.
    #[inline]
    pub fn before<'g>(&'g self, key: &[u64], guard: &'g Guard) -> Option<KeyRef<'g>> {
        self.descending(Bound::Excluded(key), guard).next()
    }

    /// The key itself, or the one after it.
    #[inline]
    pub fn at_or_after<'g>(&'g self, key: &[u64], guard: &'g Guard) -> Option<KeyRef<'g>> {
        self.ascending(Bound::Included(key), guard).next()
    }

    /// The key itself, or the one before it.
    #[inline]
    pub fn at_or_before<'g>(&'g self, key: &[u64], guard: &'g Guard) -> Option<KeyRef<'g>> {
        self.descending(Bound::Included(key), guard).next()
    }

    /// The keys from `from` on, in ascending order. It takes one descent for all.
    #[inline]
    pub fn ascending<'k, 'g: 'k>(
        &'g self,
        from: Bound<&'k [u64]>,
        _guard: &'g Guard,
    ) -> Cursor<'k, 'g> {
        // SAFETY: the guard and the index are borrowed for `'g`, and the root is loaded after that.
        unsafe { Cursor::new(self.root(), Direction::Ascending, Start::new(from)) }
    }

    /// The keys from `from` on, in descending order. It takes one descent for all.
    #[inline]
    pub fn descending<'k, 'g: 'k>(
        &'g self,
        from: Bound<&'k [u64]>,
        _guard: &'g Guard,
    ) -> Cursor<'k, 'g> {
        // SAFETY: as in `ascending`.
        unsafe { Cursor::new(self.root(), Direction::Descending, Start::new(from)) }
    }

    /// Number of keys. Exact while nobody writes. Looks at one node for about 2,000 keys.
    pub fn len(&self, _guard: &Guard) -> usize {
        self.counts().0 as usize
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.root().is_null()
    }

    /// Bytes that the index has allocated, but for itself and for what waits for readers to leave
    /// it. Exact while nobody writes; takes as long as [`len`](Self::len).
    pub fn memory_bytes(&self, _guard: &Guard) -> u64 {
        self.counts().1
    }

    /// Number of keys, and bytes. The caller is pinned.
    fn counts(&self) -> (u64, u64) {
        let root = NonNull::new(self.root());
        // SAFETY: the root was loaded under the caller's pin.
        root.map_or((0, 0), |root| tree::counts(unsafe { Inner::from_ptr(root) }))
    }

    #[inline]
    fn root(&self) -> *mut inner::Header {
        // Acquire pairs with Release in `set_root`: what the node is made of is visible.
        self.root.load(Ordering::Acquire)
    }

    /// The caller holds the lock.
    fn set_root(&self, root: *mut inner::Header) {
        // Release pairs with Acquire in `root`.
        self.root.store(root, Ordering::Release);
    }

    /// # Safety
    /// The caller stays pinned for `'g`.
    unsafe fn first_with<'g>(&'g self) -> Option<KeyRef<'g>> {
        // SAFETY: the caller's promise.
        unsafe { Cursor::new(self.root(), Direction::Ascending, Start::Edge) }.next()
    }

    /// # Safety
    /// The caller stays pinned for `'g`.
    unsafe fn after_with<'g>(&'g self, probe: Probe<'_>) -> Option<KeyRef<'g>> {
        let start = Start::Key(probe, false);
        // SAFETY: the caller's promise.
        unsafe { Cursor::new(self.root(), Direction::Ascending, start) }.next()
    }
}

impl Default for KeyIndex {
    fn default() -> Self {
        KeyIndex::new()
    }
}

impl Drop for KeyIndex {
    fn drop(&mut self) {
        if let Some(root) = NonNull::new(self.root.load(Ordering::Relaxed)) {
            // SAFETY: nobody else has the index any more, nor a guard that borrows it.
            drop(unsafe { Tree::new(root) });
        }
    }
}
