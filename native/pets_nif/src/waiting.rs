//! A stack whose first few elements need no allocation.

use std::mem::MaybeUninit;

/// What waits for what is nested in it, innermost last: most terms are not nested deeply.
pub(crate) struct Waiting<T> {
    near: [MaybeUninit<T>; NEAR],
    depth: usize,
    far: Vec<T>,
}

const NEAR: usize = 8;

impl<T: Copy> Waiting<T> {
    #[inline]
    pub(crate) fn new() -> Self {
        Waiting { near: [const { MaybeUninit::uninit() }; NEAR], depth: 0, far: Vec::new() }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        match self.near.get_mut(self.depth) {
            Some(near) => {
                near.write(value);
                self.depth += 1;
            }
            None => self.far.push(value),
        }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.depth == NEAR
            && let Some(far) = self.far.pop()
        {
            return Some(far);
        }
        self.depth = self.depth.checked_sub(1)?;
        // SAFETY: `push` has written all elements below the depth that it counts.
        Some(unsafe { self.near[self.depth].assume_init_read() })
    }
}
