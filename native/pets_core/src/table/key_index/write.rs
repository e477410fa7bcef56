//! Changing the tree.
//!
//! A writer walks to its leaf as readers do, and locks the node above it. If that node is still in
//! the tree, the leaf is the one for the key, and nobody else changes it. Mostly a new leaf takes
//! its place, and that is all. Where the number of leaves changes, the node is replaced, under the
//! lock of its parent, and so on; locks are taken upwards only, and the root pointer's is the last.
//! Nothing is changed before all locks are held that it takes: a writer that finds an obsolete
//! parent on its way gives all back and starts again.

use std::ptr::NonNull;

use super::KeyIndex;
use super::inner::{self, Inner, MAX_CHILDREN, Node, Parts};
use super::key::{self, Probe};
use super::leaf::{Leaf, MAX_KEYS};
use super::path::Path;
use super::reclaim::Reclaim;
use crate::table::sync::Ordering;

/// Leaves with no more keys are joined with a neighbour, if there is room for both in
/// [`JOINED_KEYS`].
const SMALL_LEAF: usize = MAX_KEYS / 4;
const JOINED_KEYS: usize = MAX_KEYS / 2;

/// The path of a writer was not up to date; nothing was changed.
pub(super) struct Stale;

/// What takes the place of a node: nothing, or one or two nodes, with a separator between them.
#[derive(Clone, Copy)]
enum By<'a> {
    Nothing,
    One(Inner<'a>),
    Two(Inner<'a>, u64, Inner<'a>),
}

impl By<'_> {
    /// # Safety
    /// The nodes were never published.
    unsafe fn free(self) {
        // SAFETY: the caller's promise. The separator goes back to where it came from.
        unsafe {
            match self {
                By::Nothing => {}
                By::One(node) => node.free(),
                By::Two(left, _, right) => {
                    left.free();
                    right.free();
                }
            }
        }
    }
}

fn leaf_node(leaf: Leaf<'_>) -> *mut Node {
    leaf.as_ptr().as_ptr().cast()
}

fn inner_node(node: Inner<'_>) -> *mut Node {
    node.as_ptr().as_ptr().cast()
}

/// Where to split `count` children or keys, of which the one at `new` is the new one. Those that
/// come in order leave full nodes behind.
fn cut(new: usize, count: usize) -> usize {
    match new {
        0 => 1,
        _ if new == count - 1 => new,
        _ => count / 2,
    }
}

impl KeyIndex {
    /// # Safety
    /// The caller is pinned.
    unsafe fn path_to<'g>(&'g self, probe: &Probe<'_>) -> Option<Path<'g>> {
        let root = NonNull::new(self.root())?;
        // SAFETY: the root was loaded under the caller's pin.
        Some(unsafe { Path::down(root, |node| node.route(probe)) })
    }

    /// Inserts a key; says whether it was absent.
    ///
    /// # Safety
    /// The caller is pinned. What `reclaim` takes is not freed before nobody is pinned any more who
    /// is pinned now.
    pub(super) unsafe fn insert_with(&self, probe: &Probe<'_>, reclaim: &impl Reclaim) -> bool {
        loop {
            // SAFETY: the caller's promise.
            let done = match unsafe { self.path_to(probe) } {
                Some(path) => self.try_insert(&path, probe, reclaim),
                None => self.plant(probe),
            };
            if let Ok(inserted) = done {
                return inserted;
            }
        }
    }

    /// Makes the first key a tree.
    fn plant(&self, probe: &Probe<'_>) -> Result<bool, Stale> {
        let _held = self.lock.lock();
        // Relaxed: the root is stored under this lock only.
        if !self.root.load(Ordering::Relaxed).is_null() {
            return Err(Stale);
        }
        let leaf = Leaf::of_one(probe, key::store(&probe.key));
        let root = Inner::build(&Parts::of_one(1, leaf_node(leaf)), (1, leaf.bytes()));
        self.set_root(root.as_ptr().as_ptr());
        Ok(true)
    }

    fn try_insert(
        &self,
        path: &Path<'_>,
        probe: &Probe<'_>,
        reclaim: &impl Reclaim,
    ) -> Result<bool, Stale> {
        let (node, place) = path.last();
        let _held = node.lock();
        if node.is_obsolete() {
            return Err(Stale);
        }
        // SAFETY: the lock keeps the leaf in the tree.
        let leaf = unsafe { node.leaf(place) };
        let Err(at) = leaf.search(probe) else { return Ok(false) };
        let stored = key::store(&probe.key);
        let grown = leaf.with(at, probe, stored);
        let (keys, bytes) = node.counts();
        let (keys, bytes) = (keys + 1, bytes - leaf.bytes());
        if grown.count() <= MAX_KEYS {
            node.set_child(place, leaf_node(grown));
            node.set_counts((keys, bytes + grown.bytes()));
        } else {
            let cut = cut(at, grown.count());
            let left = Leaf::of_ranges(&[(grown, 0..cut)]);
            let right = Leaf::of_ranges(&[(grown, cut..grown.count())]);
            let separator = key::store(&right.key(0));
            // SAFETY: it was never published, and its keys are in the two others.
            unsafe { grown.free() };
            let mut parts = node.parts();
            parts.split_child(place, leaf_node(left), separator, leaf_node(right));
            let counts = (keys, bytes + left.bytes() + right.bytes());
            let new = if at == 0 { place } else { place + 1 };
            if let Err(stale) = self.rebuild(path, parts, new, counts, reclaim) {
                // SAFETY: they were never published; other keys than the new one stay with `leaf`.
                unsafe {
                    left.free();
                    right.free();
                    key::free(separator);
                    key::free(stored);
                }
                return Err(stale);
            }
        }
        // SAFETY: another leaf has taken its place, or two.
        unsafe { reclaim.retire_leaf(leaf) };
        Ok(true)
    }

    /// Removes a key; says whether it was present.
    ///
    /// # Safety
    /// As for [`KeyIndex::insert_with`].
    pub(super) unsafe fn remove_with(&self, probe: &Probe<'_>, reclaim: &impl Reclaim) -> bool {
        loop {
            // SAFETY: the caller's promise.
            let Some(path) = (unsafe { self.path_to(probe) }) else { return false };
            if let Ok(removed) = self.try_remove(&path, probe, reclaim) {
                return removed;
            }
        }
    }

    fn try_remove(
        &self,
        path: &Path<'_>,
        probe: &Probe<'_>,
        reclaim: &impl Reclaim,
    ) -> Result<bool, Stale> {
        let (node, place) = path.last();
        let _held = node.lock();
        if node.is_obsolete() {
            return Err(Stale);
        }
        // SAFETY: the lock keeps the leaf in the tree.
        let leaf = unsafe { node.leaf(place) };
        let Ok(at) = leaf.search(probe) else { return Ok(false) };
        let stored = leaf.stored(at);
        let (keys, bytes) = node.counts();
        let (keys, bytes) = (keys - 1, bytes - leaf.bytes());
        if leaf.count() == 1 {
            let mut parts = node.parts();
            let separator = parts.remove_child(place);
            self.rebuild(path, parts, 0, (keys, bytes), reclaim)?;
            // SAFETY: the node that had it was replaced.
            unsafe { retire_separator(separator, reclaim) };
        } else if let Some((first, second, other)) = neighbour(node, place, leaf.count() - 1) {
            let shrunk = leaf.without(at);
            let pair = if first == place { [shrunk, other] } else { [other, shrunk] };
            let joined = Leaf::of_ranges(&pair.map(|leaf| (leaf, 0..leaf.count())));
            // SAFETY: it was never published, and its keys are in the joined one.
            unsafe { shrunk.free() };
            let mut parts = node.parts();
            parts.set_child(first, leaf_node(joined));
            let separator = parts.remove_child(second);
            let counts = (keys, bytes - other.bytes() + joined.bytes());
            if let Err(stale) = self.rebuild(path, parts, 0, counts, reclaim) {
                // SAFETY: it was never published, and its keys stay where they are.
                unsafe { joined.free() };
                return Err(stale);
            }
            // SAFETY: the node that had both was replaced.
            unsafe {
                retire_separator(separator, reclaim);
                reclaim.retire_leaf(other);
            }
        } else {
            let shrunk = leaf.without(at);
            node.set_child(place, leaf_node(shrunk));
            node.set_counts((keys, bytes + shrunk.bytes()));
        }
        // SAFETY: another leaf has taken its place, or none, and the key is in no other leaf.
        unsafe {
            reclaim.retire_leaf(leaf);
            reclaim.retire_key(stored);
        }
        Ok(true)
    }

    /// Removes all keys that `condemned` says yes to; answers how many.
    ///
    /// # Safety
    /// As for [`KeyIndex::insert_with`].
    pub(super) unsafe fn remove_where_with(
        &self,
        mut condemned: impl FnMut(&[u64]) -> bool,
        reclaim: &impl Reclaim,
    ) -> usize {
        let mut removed = 0;
        // SAFETY: the caller's promise.
        let mut next = unsafe { self.first_with() };
        while let Some(key) = next {
            let probe = Probe::of(key);
            // SAFETY: the caller's promise.
            let Some(path) = (unsafe { self.path_to(&probe) }) else { break };
            if let Ok((count, last)) = self.try_remove_where(&path, &mut condemned, reclaim) {
                removed += count;
                // SAFETY: the caller's promise.
                next = unsafe { self.after_with(last) };
            }
        }
        removed
    }

    /// Removes keys from the leaves of the last node of a path; answers how many, and the last key
    /// that was there.
    fn try_remove_where<'g>(
        &self,
        path: &Path<'g>,
        condemned: &mut impl FnMut(&[u64]) -> bool,
        reclaim: &impl Reclaim,
    ) -> Result<(usize, Probe<'g>), Stale> {
        let (node, _) = path.last();
        let _held = node.lock();
        if node.is_obsolete() {
            return Err(Stale);
        }
        // SAFETY: the lock keeps the leaves in the tree.
        let leaves: Vec<_> = (0..node.count()).map(|place| unsafe { node.leaf(place) }).collect();
        let last = leaves[leaves.len() - 1];
        let last = last.probe(last.count() - 1);
        let (mut keys, mut bytes) = node.counts();
        let mut parts = node.parts();
        let mut gone = Vec::new();
        let mut separators = Vec::new();
        // From the last one on, so that the places of those before stay what they are.
        for (place, &leaf) in leaves.iter().enumerate().rev() {
            let before = gone.len();
            let mut kept: Vec<(Leaf<'g>, std::ops::Range<usize>)> = Vec::new();
            for index in 0..leaf.count() {
                match kept.last_mut() {
                    _ if condemned(leaf.key(index).words()) => gone.push(leaf.stored(index)),
                    Some((_, range)) if range.end == index => range.end += 1,
                    _ => kept.push((leaf, index..index + 1)),
                }
            }
            if gone.len() == before {
                continue;
            }
            keys -= (gone.len() - before) as u64;
            bytes -= leaf.bytes();
            if kept.is_empty() {
                separators.push(parts.remove_child(place));
            } else {
                let shrunk = Leaf::of_ranges(&kept);
                bytes += shrunk.bytes();
                parts.set_child(place, leaf_node(shrunk));
            }
        }
        if gone.is_empty() {
            return Ok((0, last));
        }
        if let Err(stale) = self.rebuild(path, parts.clone(), 0, (keys, bytes), reclaim) {
            for child in parts.children {
                if leaves.iter().all(|&leaf| leaf_node(leaf) != child) {
                    // SAFETY: it was never published, and its keys stay where they are.
                    unsafe { Leaf::from_ptr(NonNull::new_unchecked(child.cast())).free() };
                }
            }
            return Err(stale);
        }
        // SAFETY: the node that had them was replaced.
        unsafe {
            separators.into_iter().for_each(|separator| retire_separator(separator, reclaim));
            for leaf in leaves {
                if !parts.children.contains(&leaf_node(leaf)) {
                    reclaim.retire_leaf(leaf);
                }
            }
            gone.iter().for_each(|&stored| reclaim.retire_key(stored));
        }
        Ok((gone.len(), last))
    }

    /// Puts a new node into the place of the last node of a path, whose lock the caller holds. Of
    /// its children the one at `new` is the reason.
    fn rebuild(
        &self,
        path: &Path<'_>,
        parts: Parts,
        new: usize,
        counts: (u64, u64),
        reclaim: &impl Reclaim,
    ) -> Result<(), Stale> {
        self.rebuild_at(path, path.depth() - 1, parts, new, counts, reclaim)
    }

    /// As `rebuild`, with the node at a depth of the path.
    fn rebuild_at(
        &self,
        path: &Path<'_>,
        depth: usize,
        mut parts: Parts,
        new: usize,
        counts: (u64, u64),
        reclaim: &impl Reclaim,
    ) -> Result<(), Stale> {
        let (old, _) = path.at(depth);
        let count = parts.children.len();
        let by = match count {
            0 => By::Nothing,
            1..=MAX_CHILDREN => By::One(Inner::build(&parts, counts)),
            _ => {
                let (separator, right) = parts.split_off(cut(new, count));
                let right = Inner::build(&right, right.counts());
                By::Two(Inner::build(&parts, parts.counts()), separator, right)
            }
        };
        if let Err(stale) = self.replace(path, depth, by, reclaim) {
            // SAFETY: it was never published.
            unsafe { by.free() };
            return Err(stale);
        }
        old.set_obsolete();
        // SAFETY: others have taken its place, or nothing.
        unsafe { reclaim.retire_inner(old) };
        Ok(())
    }

    /// Puts something into the place of the node at a depth of the path, whose lock the caller
    /// holds.
    fn replace(
        &self,
        path: &Path<'_>,
        depth: usize,
        by: By<'_>,
        reclaim: &impl Reclaim,
    ) -> Result<(), Stale> {
        if depth == 0 {
            self.replace_root(path.at(0).0, by);
            return Ok(());
        }
        let (parent, place) = path.at(depth - 1);
        let _held = parent.lock();
        if parent.is_obsolete() {
            return Err(Stale);
        }
        debug_assert_eq!(parent.child(place), inner_node(path.at(depth).0));
        match by {
            By::One(node) => {
                parent.set_child(place, inner_node(node));
                Ok(())
            }
            By::Nothing => {
                let mut parts = parent.parts();
                let separator = parts.remove_child(place);
                self.rebuild_at(path, depth - 1, parts, 0, (0, 0), reclaim)?;
                // SAFETY: the node that had it was replaced.
                unsafe { retire_separator(separator, reclaim) };
                Ok(())
            }
            By::Two(left, separator, right) => {
                let mut parts = parent.parts();
                parts.split_child(place, inner_node(left), separator, inner_node(right));
                self.rebuild_at(path, depth - 1, parts, place + 1, (0, 0), reclaim)
            }
        }
    }

    /// Puts something into the place of a node that was the root, whose lock the caller holds. It
    /// still is: what is the root is so until it is obsolete, and this one is not.
    fn replace_root(&self, old: Inner<'_>, by: By<'_>) {
        let _held = self.lock.lock();
        // Relaxed: the root is stored under this lock only.
        debug_assert_eq!(self.root.load(Ordering::Relaxed), old.as_ptr().as_ptr());
        let root = match by {
            By::Nothing => std::ptr::null_mut(),
            By::One(node) if node.count() == 1 && node.level() > 1 => {
                let only = node.child(0).cast::<inner::Header>();
                // SAFETY: it was never published.
                unsafe { node.free() };
                only
            }
            By::One(node) => node.as_ptr().as_ptr(),
            By::Two(left, separator, right) => {
                let mut parts = Parts::of_one(old.level() + 1, inner_node(left));
                parts.split_child(0, inner_node(left), separator, inner_node(right));
                Inner::build(&parts, (0, 0)).as_ptr().as_ptr()
            }
        };
        self.set_root(root);
    }
}

/// # Safety
/// As for [`Reclaim::retire_key`].
unsafe fn retire_separator(separator: Option<u64>, reclaim: &impl Reclaim) {
    if let Some(stored) = separator {
        // SAFETY: the caller's promise.
        unsafe { reclaim.retire_key(stored) };
    }
}

/// A leaf to join with the one at `place`, which will have `count` keys: the places of both in
/// their order, and the other leaf. The caller holds the lock.
fn neighbour<'g>(node: Inner<'g>, place: usize, count: usize) -> Option<(usize, usize, Leaf<'g>)> {
    if count > SMALL_LEAF {
        return None;
    }
    let fits = |&(first, second): &(usize, usize)| {
        second < node.count() && {
            let other = if first == place { second } else { first };
            // SAFETY: the lock keeps the leaf in the tree.
            unsafe { node.leaf(other) }.count() + count <= JOINED_KEYS
        }
    };
    let pairs = [Some((place, place + 1)), place.checked_sub(1).map(|before| (before, place))];
    let (first, second) = pairs.into_iter().flatten().find(fits)?;
    let other = if first == place { second } else { first };
    // SAFETY: as above.
    Some((first, second, unsafe { node.leaf(other) }))
}
