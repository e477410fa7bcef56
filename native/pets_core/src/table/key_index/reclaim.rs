//! When what was taken out of the tree goes back.

use std::ptr::NonNull;

use super::inner::{self, Inner};
use super::leaf::{self, Leaf};
use super::{key, tree::Tree};
use crate::epoch::{self, Guard};
use crate::table::reclaim::in_background;

/// Freeing a tree with more keys than this at once could take a scheduler longer than it has.
const BACKGROUND_FROM_KEYS: u64 = 4096;

/// Takes what nobody finds any more, but some may have found.
pub(super) trait Reclaim {
    /// Takes a leaf, but not its keys.
    ///
    /// # Safety
    /// The caller took the leaf out of the tree, and retires it once.
    unsafe fn retire_leaf(&self, leaf: Leaf<'_>);

    /// Takes an inner node, but not its children and separators.
    ///
    /// # Safety
    /// As for a leaf.
    unsafe fn retire_inner(&self, node: Inner<'_>);

    /// Takes the block of a stored key, if it has one.
    ///
    /// # Safety
    /// As for a leaf.
    unsafe fn retire_key(&self, stored: u64);
}

/// Frees what it gets when the epoch has passed.
pub(super) struct Epochs<'a>(pub(super) &'a Guard);

impl Reclaim for Epochs<'_> {
    #[inline]
    unsafe fn retire_leaf(&self, leaf: Leaf<'_>) {
        unsafe fn free(leaf: *mut ()) {
            // SAFETY: `retire_leaf` retired it, which is not null, and the epoch has passed.
            unsafe { Leaf::from_ptr(NonNull::new_unchecked(leaf.cast::<leaf::Header>())).free() };
        }
        // The keys stay with another leaf, or are retired on their own.
        let bytes = leaf.own_bytes();
        // SAFETY: the leaf is out of the tree, so that nobody who is pinned from now on can reach
        // it; `free` is called once, and may be on any thread.
        unsafe { self.0.retire(leaf.as_ptr().as_ptr().cast(), free, bytes) };
    }

    unsafe fn retire_inner(&self, node: Inner<'_>) {
        unsafe fn free(node: *mut ()) {
            // SAFETY: as for a leaf.
            unsafe { Inner::from_ptr(NonNull::new_unchecked(node.cast::<inner::Header>())).free() };
        }
        let bytes = node.own_bytes();
        // SAFETY: as for a leaf.
        unsafe { self.0.retire(node.as_ptr().as_ptr().cast(), free, bytes) };
    }

    unsafe fn retire_key(&self, stored: u64) {
        unsafe fn free(stored: *mut ()) {
            // SAFETY: `retire_key` retired it, and the epoch has passed.
            unsafe { key::free(stored.expose_provenance() as u64) };
        }
        // SAFETY: a stored key that is not freed yet: the caller retires it once.
        let bytes = unsafe { key::bytes(stored) };
        if bytes > 0 {
            let data = std::ptr::with_exposed_provenance_mut(stored as usize);
            // SAFETY: as for a leaf.
            unsafe { self.0.retire(data, free, bytes as usize) };
        }
    }
}

/// Frees a whole tree when the epoch has passed: a large one on a thread of its own, which waits
/// for that.
///
/// # Safety
/// The caller took the tree out of its index; nobody changes it any more.
pub(super) unsafe fn retire_tree(tree: Tree) {
    fn wait_and_free(tree: Tree) {
        epoch::synchronize();
        drop(tree);
    }
    let (keys, bytes) = tree.counts();
    if keys <= BACKGROUND_FROM_KEYS {
        // SAFETY: the caller's promise.
        return unsafe { retire_here(tree, bytes) };
    }
    // This thread may be pinned, and cannot wait: without another one it retires as usual.
    if let Err(tree) = in_background(tree, wait_and_free) {
        // SAFETY: the caller's promise.
        unsafe { retire_here(tree, bytes) };
    }
}

/// # Safety
/// As for [`retire_tree`].
unsafe fn retire_here(tree: Tree, bytes: u64) {
    unsafe fn free(tree: *mut ()) {
        // SAFETY: `retire_here` made the pointer of a box, and the epoch has passed.
        drop(unsafe { Box::from_raw(tree.cast::<Tree>()) });
    }
    let tree = Box::into_raw(Box::new(tree));
    // SAFETY: the tree is out of its index, so that nobody who is pinned from now on can reach it;
    // it is `Send`, and freed once.
    unsafe { epoch::pin().retire(tree.cast(), free, bytes as usize) };
}
