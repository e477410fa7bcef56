//! An inner node: children, and the separators between them.
//!
//! The number of children and the separators never change; a node that shall have others is
//! replaced by a new one, and is *obsolete* from then on. What changes is which node is the child
//! at a place: a single store, under the lock of the node.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cmp::Ordering as Order;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::AtomicU64 as Counter;

use super::key::{self, Probe};
use super::leaf::{self, Leaf};
use crate::table::lock::{Lock, LockGuard};
use crate::table::sync::{AtomicPtr, AtomicU32, Ordering};

/// The children that a node may have.
pub(super) const MAX_CHILDREN: usize = 64;

/// A child: an inner node, or a leaf where its parent has level 1.
pub(super) enum Node {}

/// What precedes the children in memory. The prefixes of the separators follow them, and then the
/// stored keys of the separators.
#[repr(C)]
pub(super) struct Header {
    /// Held by whoever stores a child, or replaces the node.
    lock: Lock,
    /// How far it is to the leaves, which have level 0.
    level: u8,
    /// Number of children, at least one.
    count: u16,
    /// 1 when the node was taken out of the tree. Read and written under the lock.
    obsolete: AtomicU32,
    /// In a node of level 1, keys of its leaves. Written under the lock.
    keys: Counter,
    /// In a node of level 1, bytes of its leaves and their keys. Written under the lock.
    bytes: Counter,
}

/// An inner node. Its memory is given back by [`Inner::free`] only.
#[derive(Clone, Copy)]
pub(super) struct Inner<'g> {
    header: NonNull<Header>,
    life: PhantomData<&'g Header>,
}

/// What parts two children: the keys of the right one are no less, those of the left one are.
#[derive(Clone, Copy)]
pub(super) struct Separator {
    pub(super) prefix: u64,
    /// A stored key that is the separator's own, or [`ANY`].
    pub(super) stored: u64,
}

/// In the place of a separator's key: it comes before all keys with its prefix.
const ANY: u64 = 0;

impl Separator {
    /// One between two keys, the first of which is less.
    pub(super) fn between(left: &Probe<'_>, right: &Probe<'_>) -> Self {
        let stored = if left.prefix == right.prefix { key::store(&right.key) } else { ANY };
        Separator { prefix: right.prefix, stored }
    }

    fn bytes(self) -> u64 {
        // SAFETY: a separator's key is freed after it.
        self.key().map_or(0, |stored| unsafe { key::bytes(stored) })
    }

    /// # Safety
    /// Nobody looks at the separator any more.
    pub(super) unsafe fn free(self) {
        if let Some(stored) = self.key() {
            // SAFETY: the caller's promise.
            unsafe { key::free(stored) };
        }
    }

    /// The stored key, if it has one.
    pub(super) fn key(self) -> Option<u64> {
        (self.stored != ANY).then_some(self.stored)
    }
}

/// What an inner node is made of, to be changed and made into one again.
#[derive(Clone)]
pub(super) struct Parts {
    level: u8,
    pub(super) children: Vec<*mut Node>,
    pub(super) separators: Vec<Separator>,
}

struct Offsets {
    layout: Layout,
    prefixes: usize,
    stored: usize,
}

const CHILDREN: usize = size_of::<Header>();

fn offsets(count: usize) -> Offsets {
    let fits = "an inner node fits the address space";
    let children = Layout::array::<AtomicPtr<Node>>(count).expect(fits);
    let words = Layout::array::<u64>(count - 1).expect(fits);
    let (layout, _) = Layout::new::<Header>().extend(children).expect(fits);
    let (layout, prefixes) = layout.extend(words).expect(fits);
    let (layout, stored) = layout.extend(words).expect(fits);
    Offsets { layout, prefixes, stored }
}

impl<'g> Inner<'g> {
    /// # Safety
    /// The pointer came from [`Inner::as_ptr`], and the node is not freed during `'g`.
    #[inline]
    pub(super) unsafe fn from_ptr(header: NonNull<Header>) -> Self {
        Inner { header, life: PhantomData }
    }

    #[inline]
    pub(super) fn as_ptr(self) -> NonNull<Header> {
        self.header
    }

    #[inline]
    fn header(self) -> &'g Header {
        // SAFETY: `from_ptr` and `build` vouch for the life of the node.
        unsafe { self.header.as_ref() }
    }

    /// A node of these parts, with its counts. Its memory is given back by [`Inner::free`] only.
    pub(super) fn build(parts: &Parts, (keys, bytes): (u64, u64)) -> Self {
        let count = parts.children.len();
        debug_assert_eq!(count, parts.separators.len() + 1);
        let Offsets { layout, prefixes, stored } = offsets(count);
        // SAFETY: the layout has the header at least.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        let node = start.cast::<Header>();
        // SAFETY: the block is new, and `offsets` tells where there is room for what.
        unsafe {
            node.write(Header {
                lock: Lock::new(),
                level: parts.level,
                count: count as u16,
                obsolete: AtomicU32::new(0),
                keys: Counter::new(keys),
                bytes: Counter::new(bytes),
            });
            let children = start.as_ptr().add(CHILDREN).cast::<AtomicPtr<Node>>();
            for (index, &child) in parts.children.iter().enumerate() {
                children.add(index).write(AtomicPtr::new(child));
            }
            let prefixes = start.as_ptr().add(prefixes).cast::<u64>();
            let stored = start.as_ptr().add(stored).cast::<u64>();
            for (index, separator) in parts.separators.iter().enumerate() {
                prefixes.add(index).write(separator.prefix);
                stored.add(index).write(separator.stored);
            }
        }
        Inner { header: node, life: PhantomData }
    }

    /// Gives the memory of a node back, but not that of its children and separators.
    ///
    /// # Safety
    /// Nobody uses the node any more.
    pub(super) unsafe fn free(self) {
        let layout = offsets(self.count()).layout;
        // SAFETY: `build` used the same layout.
        unsafe { dealloc(self.header.as_ptr().cast(), layout) };
    }

    #[inline]
    fn start(self) -> *const u8 {
        self.header.as_ptr().cast()
    }

    #[inline]
    pub(super) fn level(self) -> u8 {
        self.header().level
    }

    /// Number of children.
    #[inline]
    pub(super) fn count(self) -> usize {
        self.header().count.into()
    }

    #[inline]
    fn children(self) -> &'g [AtomicPtr<Node>] {
        // SAFETY: so many children follow the header, in the same block, which lives as long.
        unsafe { slice::from_raw_parts(self.start().add(CHILDREN).cast(), self.count()) }
    }

    #[inline]
    fn prefixes(self) -> &'g [u64] {
        let start = self.start().wrapping_add(CHILDREN + size_of_val(self.children()));
        // SAFETY: so many prefixes follow the children, and never change.
        unsafe { slice::from_raw_parts(start.cast(), self.count() - 1) }
    }

    #[inline]
    fn stored(self) -> &'g [u64] {
        let prefixes = self.prefixes();
        let start = prefixes.as_ptr().wrapping_add(prefixes.len());
        // SAFETY: as many keys as prefixes follow these, and never change.
        unsafe { slice::from_raw_parts(start, prefixes.len()) }
    }

    /// The index of the child that has a key, if it is there.
    #[inline]
    pub(super) fn route(self, probe: &Probe<'_>) -> usize {
        let prefixes = self.prefixes();
        let mut low = prefixes.partition_point(|&prefix| prefix < probe.prefix);
        if prefixes.get(low) != Some(&probe.prefix) {
            return low;
        }
        let same = prefixes[low..].partition_point(|&prefix| prefix == probe.prefix);
        let mut high = low + same;
        while low < high {
            let middle = low + (high - low) / 2;
            let stored = self.stored()[middle];
            // SAFETY: a separator's key is freed after the node, and the prefixes are the same.
            if stored != ANY && unsafe { probe.cmp_stored(stored) } == Order::Less {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// The child with this index.
    #[inline]
    pub(super) fn child(self, index: usize) -> *mut Node {
        // Acquire pairs with Release in `set_child`: what the child is made of is visible.
        self.children()[index].load(Ordering::Acquire)
    }

    /// The child with this index.
    ///
    /// # Safety
    /// The level is above 1, and the node and what can be reached from it are not freed during `'g`.
    #[inline]
    pub(super) unsafe fn inner(self, index: usize) -> Inner<'g> {
        debug_assert!(self.level() > 1);
        // SAFETY: the caller's promise; children are never null.
        unsafe { Inner::from_ptr(NonNull::new_unchecked(self.child(index).cast::<Header>())) }
    }

    /// The child with this index.
    ///
    /// # Safety
    /// The level is 1, and the node and what can be reached from it are not freed during `'g`.
    #[inline]
    pub(super) unsafe fn leaf(self, index: usize) -> Leaf<'g> {
        debug_assert!(self.level() == 1);
        // SAFETY: the caller's promise; children are never null.
        unsafe { Leaf::from_ptr(NonNull::new_unchecked(self.child(index).cast::<leaf::Header>())) }
    }

    pub(super) fn lock(self) -> LockGuard<'g> {
        self.header().lock.lock()
    }

    /// Whether the node was taken out of the tree. The caller holds the lock.
    pub(super) fn is_obsolete(self) -> bool {
        self.header().obsolete.load(Ordering::Relaxed) != 0
    }

    /// Notes that the node was taken out of the tree. The caller holds the lock.
    pub(super) fn set_obsolete(self) {
        self.header().obsolete.store(1, Ordering::Relaxed);
    }

    /// Replaces a child. The caller holds the lock.
    pub(super) fn set_child(self, index: usize, child: *mut Node) {
        // Release pairs with Acquire in `child`.
        self.children()[index].store(child, Ordering::Release);
    }

    /// Keys of the leaves, and bytes of leaves and keys, in a node of level 1.
    pub(super) fn counts(self) -> (u64, u64) {
        (self.header().keys.load(Ordering::Relaxed), self.header().bytes.load(Ordering::Relaxed))
    }

    /// The caller holds the lock.
    pub(super) fn set_counts(self, (keys, bytes): (u64, u64)) {
        self.header().keys.store(keys, Ordering::Relaxed);
        self.header().bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of the node.
    pub(super) fn own_bytes(self) -> usize {
        offsets(self.count()).layout.size()
    }

    /// Bytes of the blocks of its separators.
    pub(super) fn separator_bytes(self) -> u64 {
        self.separators().map(Separator::bytes).sum()
    }

    pub(super) fn separators(self) -> impl Iterator<Item = Separator> + use<'g> {
        let pairs = self.prefixes().iter().zip(self.stored());
        pairs.map(|(&prefix, &stored)| Separator { prefix, stored })
    }

    /// What the node is made of. The caller holds the lock.
    pub(super) fn parts(self) -> Parts {
        let mut parts = Parts {
            level: self.level(),
            children: Vec::with_capacity(self.count() + 1),
            separators: Vec::with_capacity(self.count()),
        };
        parts.children.extend((0..self.count()).map(|index| self.child(index)));
        parts.separators.extend(self.separators());
        parts
    }
}

impl Parts {
    /// Those of a node with one child.
    pub(super) fn of_one(level: u8, child: *mut Node) -> Self {
        Parts { level, children: vec![child], separators: Vec::new() }
    }

    /// Keys of the leaves, and bytes of leaves and keys, if these are parts of level 1.
    pub(super) fn counts(&self) -> (u64, u64) {
        if self.level > 1 {
            return (0, 0);
        }
        self.children.iter().fold((0, 0), |(keys, bytes), &child| {
            // SAFETY: the children of level 1 are leaves, and the caller holds the lock that keeps
            // them in the tree, or they are the caller's.
            let leaf = unsafe { Leaf::from_ptr(NonNull::new_unchecked(child.cast())) };
            (keys + leaf.count() as u64, bytes + leaf.bytes())
        })
    }

    pub(super) fn set_child(&mut self, index: usize, child: *mut Node) {
        self.children[index] = child;
    }

    /// Puts two children into the place of one.
    pub(super) fn split_child(
        &mut self,
        index: usize,
        left: *mut Node,
        separator: Separator,
        right: *mut Node,
    ) {
        self.children[index] = left;
        self.children.insert(index + 1, right);
        self.separators.insert(index, separator);
    }

    /// Takes a child out, and one of the separators next to it, which is returned if there is one:
    /// the range of keys goes to the child before it or, if it was the first, to the next one.
    pub(super) fn remove_child(&mut self, index: usize) -> Option<Separator> {
        self.children.remove(index);
        let before = index.saturating_sub(1);
        (before < self.separators.len()).then(|| self.separators.remove(before))
    }

    /// Splits off the children from `at` on; returns what parts them from the others.
    pub(super) fn split_off(&mut self, at: usize) -> (Separator, Parts) {
        let right = Parts {
            level: self.level,
            children: self.children.split_off(at),
            separators: self.separators.split_off(at),
        };
        let separator = self.separators.pop().expect("both parts have a child");
        (separator, right)
    }
}
