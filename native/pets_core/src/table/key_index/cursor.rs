//! Going from key to key, without a lock.

use std::ops::Bound;
use std::ptr::NonNull;

use super::inner;
use super::key::{KeyRef, Probe};
use super::leaf::Leaf;
use super::path::Path;

/// Keys of an index in order, ascending or descending.
///
/// Every key that is present from the making of the cursor until it has passed is met, and no key
/// is met twice. Of keys that come and go meanwhile it may show some.
pub struct Cursor<'k, 'g> {
    /// `None` where there is nothing (any more).
    path: Option<Path<'g>>,
    leaf: Option<Leaf<'g>>,
    /// Ascending, the index in the leaf of the next key; descending, the number of keys before.
    at: usize,
    direction: Direction,
    from: Start<'k>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Ascending,
    Descending,
}

/// What has been passed already.
#[derive(Clone, Copy)]
pub(super) enum Start<'k> {
    Edge,
    /// Whether the key itself is still to come.
    Key(Probe<'k>, bool),
}

impl<'k> Start<'k> {
    pub(super) fn new(bound: Bound<&'k [u64]>) -> Self {
        match bound {
            Bound::Unbounded => Start::Edge,
            Bound::Included(key) => Start::Key(Probe::new(key), true),
            Bound::Excluded(key) => Start::Key(Probe::new(key), false),
        }
    }
}

impl<'k, 'g: 'k> Cursor<'k, 'g> {
    /// # Safety
    /// `root` was the root after the caller was pinned, or null, and the caller stays pinned for
    /// `'g`.
    #[inline]
    pub(super) unsafe fn new(
        root: *mut inner::Header,
        direction: Direction,
        from: Start<'k>,
    ) -> Self {
        let Some(root) = NonNull::new(root) else {
            return Cursor { path: None, leaf: None, at: 0, direction, from };
        };
        // SAFETY: the caller's promise.
        let path = unsafe {
            Path::down(root, |node| match (&from, direction) {
                (Start::Key(probe, _), _) => node.route(probe),
                (Start::Edge, Direction::Ascending) => 0,
                (Start::Edge, Direction::Descending) => node.count() - 1,
            })
        };
        let leaf = path.leaf();
        let mut cursor = Cursor { path: Some(path), leaf: Some(leaf), at: 0, direction, from };
        cursor.enter(leaf);
        cursor
    }

    /// Goes to the first key of a leaf that is to come. As a leaf's range may grow while the cursor
    /// is on its way, there may be some that it has passed.
    #[inline]
    fn enter(&mut self, leaf: Leaf<'g>) {
        self.leaf = Some(leaf);
        let ascending = self.direction == Direction::Ascending;
        self.at = match &self.from {
            Start::Edge if ascending => 0,
            Start::Edge => leaf.count(),
            Start::Key(probe, inclusive) => match leaf.search(probe) {
                Err(at) => at,
                Ok(at) => at + usize::from(ascending != *inclusive),
            },
        };
    }

    /// Goes to the next leaf; says whether there is one.
    #[cold]
    fn turn(&mut self) -> bool {
        let (Some(path), Some(leaf)) = (&mut self.path, self.leaf) else { return false };
        let (there, last) = match self.direction {
            Direction::Ascending => (path.forward(), leaf.count() - 1),
            Direction::Descending => (path.back(), 0),
        };
        if !there {
            self.path = None;
            return false;
        }
        let next = path.leaf();
        // What the leaf has may all lie before the start.
        let passed = leaf.probe(last);
        let farther = match &self.from {
            Start::Edge => true,
            Start::Key(probe, _) => match probe.cmp(&passed) {
                std::cmp::Ordering::Less => self.direction == Direction::Ascending,
                std::cmp::Ordering::Equal => true,
                std::cmp::Ordering::Greater => self.direction == Direction::Descending,
            },
        };
        if farther {
            self.from = Start::Key(passed, false);
        }
        self.enter(next);
        true
    }
}

impl<'k, 'g: 'k> Iterator for Cursor<'k, 'g> {
    type Item = KeyRef<'g>;

    #[inline]
    fn next(&mut self) -> Option<KeyRef<'g>> {
        loop {
            let leaf = self.leaf?;
            match self.direction {
                Direction::Ascending if self.at < leaf.count() => {
                    self.at += 1;
                    return Some(leaf.key(self.at - 1));
                }
                Direction::Descending if self.at > 0 => {
                    self.at -= 1;
                    return Some(leaf.key(self.at));
                }
                _ => {
                    if !self.turn() {
                        self.leaf = None;
                        return None;
                    }
                }
            }
        }
    }
}
