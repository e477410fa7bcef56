//! An inner node: children, and the separators between them.
//!
//! The number of children and the separators never change; a node that shall have others is
//! replaced by a new one, and is *obsolete* from then on. What changes is which node is the child
//! at a place: a single store, under the lock of the node.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::AtomicU64 as Counter;

use super::key::{self, Probe};
use super::leaf::{self, Leaf};
use super::run::{self, Frame, Run};
use crate::table::lock::{Lock, LockGuard};
use crate::table::sync::{AtomicPtr, AtomicU32, Ordering};

/// The children that a node may have. Few in a model, which shall split nodes.
pub(super) const MAX_CHILDREN: usize = if cfg!(all(test, loom)) { 3 } else { 64 };

/// A child: an inner node, or a leaf where its parent has level 1.
pub(super) enum Node {}

/// What precedes the children in memory; the run of separators follows them.
#[repr(C)]
pub(super) struct Header {
    /// Held by whoever stores a child, or replaces the node.
    lock: Lock,
    /// How far it is to the leaves, which have level 0.
    level: u8,
    /// Bytes that the run of separators skips.
    skip: u8,
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

/// What an inner node is made of, to be changed and made into one again.
///
/// A separator is a stored key of its own. The keys to its right are no less, those to its left
/// are.
#[derive(Clone)]
pub(super) struct Parts {
    level: u8,
    pub(super) children: Vec<*mut Node>,
    /// One less than children.
    separators: Vec<u64>,
    frame: Frame,
    /// The bits of the separators in the frame.
    bits: Vec<u64>,
}

const CHILDREN: usize = size_of::<Header>();

/// The layout of a node, and where its run is.
fn layout(count: usize, skip: usize) -> (Layout, usize) {
    let fits = "an inner node fits the address space";
    let children = Layout::array::<AtomicPtr<Node>>(count).expect(fits);
    let run = Layout::array::<u64>(run::words(count - 1, skip, false)).expect(fits);
    let (layout, _) = Layout::new::<Header>().extend(children).expect(fits);
    layout.extend(run).expect(fits)
}

impl<'g> Inner<'g> {
    /// # Safety
    /// The pointer came from [`Inner::as_ptr`], and the node is not freed during `'g`.
    #[inline]
    pub(super) unsafe fn from_ptr(header: NonNull<Header>) -> Self {
        #[cfg(all(test, loom))]
        super::model::note_met(header.addr());
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
        let (layout, run) = layout(count, parts.frame.skip);
        // SAFETY: the layout has the header at least.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        let node = start.cast::<Header>();
        // SAFETY: the block is new, and `layout` tells where there is room for what.
        unsafe {
            node.write(Header {
                lock: Lock::new(),
                level: parts.level,
                skip: parts.frame.skip as u8,
                count: count as u16,
                obsolete: AtomicU32::new(0),
                keys: Counter::new(keys),
                bytes: Counter::new(bytes),
            });
            let children = start.as_ptr().add(CHILDREN).cast::<AtomicPtr<Node>>();
            for (index, &child) in parts.children.iter().enumerate() {
                children.add(index).write(AtomicPtr::new(child));
            }
            let run = start.as_ptr().add(run).cast::<u64>();
            Run::write_frame(run, &parts.frame);
            let bits = run.add(run::words(0, parts.frame.skip, false));
            bits.copy_from_nonoverlapping(parts.bits.as_ptr(), count - 1);
            let stored = bits.add(count - 1);
            stored.copy_from_nonoverlapping(parts.separators.as_ptr(), count - 1);
        }
        Inner { header: node, life: PhantomData }
    }

    /// Gives the memory of a node back, but not that of its children and separators.
    ///
    /// # Safety
    /// Nobody uses the node any more.
    pub(super) unsafe fn free(self) {
        let layout = self.layout().0;
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

    fn layout(self) -> (Layout, usize) {
        layout(self.count(), self.header().skip.into())
    }

    #[inline]
    fn run(self) -> Run<'g> {
        let children = size_of::<AtomicPtr<Node>>() * self.count();
        let start = self.start().wrapping_add(CHILDREN + children).cast();
        // SAFETY: `build` wrote such a run there, which is never changed.
        unsafe { Run::new(start, self.count() - 1, self.header().skip.into(), false) }
    }

    /// The index of the child that has a key, if it is there.
    #[inline]
    pub(super) fn route(self, probe: &Probe<'_>) -> usize {
        match self.run().search(probe) {
            Ok(separator) => separator + 1,
            Err(greater) => greater,
        }
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
        self.layout().0.size()
    }

    /// Bytes of the blocks of its separators.
    pub(super) fn separator_bytes(self) -> u64 {
        // SAFETY: the separators of a node are freed after it.
        self.separators().iter().map(|&stored| unsafe { key::bytes(stored) }).sum()
    }

    /// The stored keys that part the children.
    pub(super) fn separators(self) -> &'g [u64] {
        self.run().all_stored()
    }

    /// What the node is made of. The caller holds the lock.
    pub(super) fn parts(self) -> Parts {
        let run = self.run();
        let mut parts = Parts {
            level: self.level(),
            children: Vec::with_capacity(self.count() + 1),
            separators: Vec::with_capacity(self.count()),
            frame: run.frame(),
            bits: Vec::with_capacity(self.count()),
        };
        parts.children.extend((0..self.count()).map(|index| self.child(index)));
        parts.separators.extend(run.all_stored());
        parts.bits.extend(run.bits());
        parts
    }
}

impl Parts {
    /// Those of a node with one child.
    pub(super) fn of_one(level: u8, child: *mut Node) -> Self {
        Parts {
            level,
            children: vec![child],
            separators: Vec::new(),
            frame: Frame::NONE,
            bits: Vec::new(),
        }
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

    /// Puts two children into the place of one, with a separator between them.
    pub(super) fn split_child(
        &mut self,
        index: usize,
        left: *mut Node,
        separator: u64,
        right: *mut Node,
    ) {
        self.children[index] = left;
        self.children.insert(index + 1, right);
        // SAFETY: the caller has the separator.
        let prefix = unsafe { run::prefix_of(separator) };
        self.separators.insert(index, separator);
        if self.frame.fits(&prefix) {
            self.bits.insert(index, self.frame.bits(&prefix));
            self.resolve_ties();
        } else {
            self.set_frame(self.frame.with(&prefix));
        }
    }

    /// Takes a child out, and one of the separators next to it, which is returned if there is one:
    /// the range of keys goes to the child before it or, if it was the first, to the next one.
    pub(super) fn remove_child(&mut self, index: usize) -> Option<u64> {
        self.children.remove(index);
        let before = index.saturating_sub(1);
        (before < self.separators.len()).then(|| {
            self.bits.remove(before);
            self.separators.remove(before)
        })
    }

    /// Splits off the children from `at` on; returns what parts them from the others.
    pub(super) fn split_off(&mut self, at: usize) -> (u64, Parts) {
        let mut right = Parts {
            level: self.level,
            children: self.children.split_off(at),
            separators: self.separators.split_off(at),
            frame: self.frame,
            bits: self.bits.split_off(at),
        };
        self.bits.pop();
        let separator = self.separators.pop().expect("both parts have a child");
        self.resolve_ties();
        right.resolve_ties();
        (separator, right)
    }

    /// Where separators cannot be told from each other, skips what all of them have in common.
    fn resolve_ties(&mut self) {
        if let [first, .., last] = self.separators[..]
            && run::has_ties(&self.bits)
        {
            // SAFETY: the separators belong to a node that is not freed, or to the caller.
            let [first, last] = [first, last].map(|stored| unsafe { run::prefix_of(stored) });
            let frame = Frame::around(&first, &last);
            if frame.skip > self.frame.skip {
                self.set_frame(frame);
            }
        }
    }

    fn set_frame(&mut self, frame: Frame) {
        self.frame = frame;
        // SAFETY: as above.
        let bits = |&stored: &u64| frame.bits(&unsafe { run::prefix_of(stored) });
        self.bits = self.separators.iter().map(bits).collect();
    }
}
