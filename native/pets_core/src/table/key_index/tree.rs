//! All nodes below a root, seen as one thing.

use std::ptr::NonNull;

use super::inner::{self, Inner};
use super::key;
use super::leaf::Leaf;

/// A tree that nobody else uses. Frees all of it when it is dropped.
pub(super) struct Tree(NonNull<inner::Header>);

// SAFETY: nodes are plain heap memory, which any thread may free.
unsafe impl Send for Tree {}

impl Tree {
    /// # Safety
    /// The tree is the caller's alone, or will be when this is dropped.
    pub(super) unsafe fn new(root: NonNull<inner::Header>) -> Self {
        Tree(root)
    }

    /// Number of keys, and bytes of everything.
    pub(super) fn counts(&self) -> (u64, u64) {
        // SAFETY: it lives as long as `self`.
        counts(unsafe { Inner::from_ptr(self.0) })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // SAFETY: the tree is ours (`new`).
        unsafe { free(Inner::from_ptr(self.0)) };
    }
}

/// Number of keys below a node, and bytes of it and of everything below. Exact while nobody writes.
pub(super) fn counts(node: Inner<'_>) -> (u64, u64) {
    let own = node.own_bytes() as u64 + node.separator_bytes();
    if node.level() == 1 {
        let (keys, bytes) = node.counts();
        return (keys, own + bytes);
    }
    (0..node.count()).fold((0, own), |(keys, bytes), index| {
        // SAFETY: what can be reached from the node is not freed while the caller has it.
        let (more_keys, more_bytes) = counts(unsafe { node.inner(index) });
        (keys + more_keys, bytes + more_bytes)
    })
}

/// # Safety
/// Nobody uses the node and what is below it any more.
unsafe fn free(node: Inner<'_>) {
    for index in 0..node.count() {
        // SAFETY: the caller's promise; no child has two parents that are freed.
        unsafe {
            if node.level() > 1 {
                free(node.inner(index));
            } else {
                free_leaf(node.leaf(index));
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        node.separators().iter().for_each(|&separator| key::free(separator));
        node.free();
    }
}

/// # Safety
/// As for [`free`].
unsafe fn free_leaf(leaf: Leaf<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        leaf.free_keys();
        leaf.free();
    }
}
