//! The way from the root to a leaf, without a lock.

use std::ptr::NonNull;

use super::inner::{self, Inner};
use super::leaf::Leaf;

/// Levels that a path may have. A node is split only when it has 64 children, of which 32 are
/// new since it was made, or all of them: a tree of this height has had more than 2^60 insertions.
const MAX_DEPTH: usize = 12;

/// Inner nodes from the root to one of level 1, and in each the place of the next.
///
/// Each node was in the tree at some time since the walk began: it was the child of one that was,
/// and a node that is taken out keeps the children that it had then.
pub(super) struct Path<'g> {
    nodes: [Option<Inner<'g>>; MAX_DEPTH],
    places: [u8; MAX_DEPTH],
    depth: usize,
}

impl<'g> Path<'g> {
    /// Walks down from `root`; `choose` answers the index of the child.
    ///
    /// # Safety
    /// `root` was the root after the caller was pinned, and the caller stays pinned for `'g`.
    #[inline]
    pub(super) unsafe fn down(
        root: NonNull<inner::Header>,
        choose: impl Fn(Inner<'g>) -> usize,
    ) -> Self {
        let mut path = Path { nodes: [None; MAX_DEPTH], places: [0; MAX_DEPTH], depth: 0 };
        // SAFETY: the caller's promise.
        path.go_down(unsafe { Inner::from_ptr(root) }, choose);
        path
    }

    #[inline]
    fn go_down(&mut self, mut node: Inner<'g>, choose: impl Fn(Inner<'g>) -> usize) {
        loop {
            let place = choose(node);
            self.nodes[self.depth] = Some(node);
            self.places[self.depth] = place as u8;
            self.depth += 1;
            if node.level() == 1 {
                // SAFETY: as below.
                #[cfg(not(all(test, loom)))]
                unsafe { node.leaf(place) }.prefetch();
                return;
            }
            // SAFETY: nothing that is reached under the pin of `down` is freed during `'g`.
            node = unsafe { node.inner(place) };
        }
    }

    /// The number of nodes.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// A node, counted from the root, and the place of the next.
    #[inline]
    pub(super) fn at(&self, depth: usize) -> (Inner<'g>, usize) {
        let node = self.nodes[depth].expect("paths have no gaps");
        (node, self.places[depth].into())
    }

    /// The node of level 1, and the place of the leaf.
    #[inline]
    pub(super) fn last(&self) -> (Inner<'g>, usize) {
        self.at(self.depth - 1)
    }

    /// The leaf at its end.
    #[inline]
    pub(super) fn leaf(&self) -> Leaf<'g> {
        let (node, place) = self.last();
        // SAFETY: as in `go_down`; the last node has level 1.
        unsafe { node.leaf(place) }
    }

    /// Goes to the next leaf; says whether there is one.
    pub(super) fn forward(&mut self) -> bool {
        self.turn(|node, place| (place + 1 < node.count()).then_some(place + 1), |_| 0)
    }

    /// Goes to the leaf before; says whether there is one.
    pub(super) fn back(&mut self) -> bool {
        self.turn(|_, place| place.checked_sub(1), |node| node.count() - 1)
    }

    fn turn(
        &mut self,
        beside: impl Fn(Inner<'g>, usize) -> Option<usize>,
        choose: impl Fn(Inner<'g>) -> usize,
    ) -> bool {
        for depth in (0..self.depth).rev() {
            let (node, place) = self.at(depth);
            let Some(place) = beside(node, place) else { continue };
            self.places[depth] = place as u8;
            self.depth = depth + 1;
            if node.level() > 1 {
                // SAFETY: as in `go_down`.
                self.go_down(unsafe { node.inner(place) }, choose);
            }
            return true;
        }
        false
    }
}
